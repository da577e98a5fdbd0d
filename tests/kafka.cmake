if(TOMBOLO_BRIDGE)
  unit(kafka_values USES kafka)
  unit(kafka_envelope USES kafka)
endif()
