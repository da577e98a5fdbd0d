# The core's private headers are tested too.
function(http_unit name)
  unit(${name} USES http)
  target_link_libraries(test_${name} PRIVATE package_llhttp)
endfunction()

unit(http_query USES http)
unit(http_loop USES http)
http_unit(http)
http_unit(http_stream)
http_unit(http_life)
fuzz(http_query USES http)
fuzz(http_conn USES http)
target_link_libraries(fuzz_http_conn PRIVATE package_llhttp)
