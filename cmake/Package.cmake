# How the installed package finds the libraries that a room links: one line a library.
# A room that links a new one needs a new line here; configuring says so.
set(RESNET_FIND_Threads::Threads "find_dependency(Threads)")
set(RESNET_FIND_fmt::fmt "find_dependency(fmt)")
set(RESNET_FIND_nlohmann_json::nlohmann_json "find_dependency(nlohmann_json)")
set(RESNET_FIND_DNNL::dnnl "find_dependency(dnnl)")
set(RESNET_FIND_OpenMP::OpenMP_CXX "find_dependency(OpenMP COMPONENTS CXX)")
set(RESNET_FIND_hwy::hwy "find_dependency(hwy)")
set(RESNET_FIND_JPEG::JPEG "find_dependency(JPEG)")
set(RESNET_FIND_PNG::PNG "find_dependency(PNG)")
set(RESNET_FIND_TIFF::TIFF "find_dependency(TIFF)")
set(RESNET_FIND_ZLIB::ZLIB "find_dependency(ZLIB)")
set(RESNET_FIND_LibArchive::LibArchive "find_dependency(LibArchive)")
set(RESNET_FIND_protobuf::libprotobuf "find_dependency(Protobuf)")
set(RESNET_FIND_protobuf::libprotobuf-lite "find_dependency(Protobuf)")

# pkg-config modules: resnet_find_code turns PkgConfig::NAME into a call with these modules.
set(RESNET_PKG_CONFIG_WEBP libwebp libwebpdemux)

# resnet_find_code(<link targets> <variable>): the lines of resnetConfig.cmake that find them.
function(resnet_find_code targets variable)
  set(code "")
  foreach(target ${targets})
    if(DEFINED RESNET_FIND_${target})
      list(APPEND code "${RESNET_FIND_${target}}")
    elseif(target MATCHES "^PkgConfig::(.+)$" AND DEFINED RESNET_PKG_CONFIG_${CMAKE_MATCH_1})
      set(name ${CMAKE_MATCH_1})
      list(JOIN RESNET_PKG_CONFIG_${name} " " modules)
      list(APPEND code "find_dependency(PkgConfig)"
                       "pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET ${modules})")
    else()
      message(FATAL_ERROR "A room links ${target}; say in cmake/Package.cmake how the installed "
                          "package finds it.")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES code)
  list(JOIN code "\n" code)
  set(${variable} "${code}" PARENT_SCOPE)
endfunction()
