unit(http USES http)
# The core's private headers are tested too.
target_link_libraries(test_http PRIVATE package_llhttp)
