# The core's private headers are tested too.
function(http_unit name)
  unit(${name} USES http)
  target_link_libraries(test_${name} PRIVATE package_llhttp)
endfunction()

http_unit(http)
http_unit(http_stream)
http_unit(http_life)
