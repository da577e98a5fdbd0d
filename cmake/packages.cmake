# package(name pkg-config-module): an outside library, named by the rooms that
# use it and seen by no other.
find_package(PkgConfig REQUIRED)

function(package name module)
  pkg_check_modules(PC_${name} REQUIRED IMPORTED_TARGET ${module})
  add_library(package_${name} INTERFACE)
  target_link_libraries(package_${name} INTERFACE PkgConfig::PC_${name})
endfunction()

package(xxhash libxxhash)
package(sqlite sqlite3)
package(yyjson yyjson)
package(curl libcurl)
if(TOMBOLO_BRIDGE)
  package(pq libpq)
  package(llhttp libllhttp)
  package(inih inih)
  package(deflate libdeflate)
  package(zstd libzstd)
  package(crypto libcrypto)
  # libpg_query has no pkg-config file.
  find_library(PG_QUERY_LIBRARY pg_query REQUIRED)
  find_path(PG_QUERY_INCLUDE pg_query.h REQUIRED)
  add_library(package_pg_query INTERFACE)
  target_include_directories(package_pg_query INTERFACE ${PG_QUERY_INCLUDE})
  target_link_libraries(package_pg_query INTERFACE ${PG_QUERY_LIBRARY})
endif()
