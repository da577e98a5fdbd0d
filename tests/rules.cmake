# What the configuration says of shapes and writes. The tests sign tokens.
if(TOMBOLO_BRIDGE)
  unit(rules ONE_THREAD USES rules package_crypto package_yyjson)
  fuzz(rules USES rules)
endif()
