# Tokens. The tests sign what the room verifies, so they use OpenSSL too.
if(TOMBOLO_BRIDGE)
  function(token_test name)
    unit(${name} ${ARGN} USES token package_crypto package_yyjson)
  endfunction()

  token_test(token ONE_THREAD)
  token_test(token_attacks ONE_THREAD)
  token_test(token_claims ONE_THREAD)
  token_test(token_keys ONE_THREAD)
  token_test(token_threads)
  fuzz(token USES token package_crypto)
  fuzz(jwks USES token package_crypto)
endif()
