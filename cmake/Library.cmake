# `resnet`: all rooms in one library, and its installed CMake package.
#
# A static library makes its users link what its rooms link. The rooms' external targets are
# collected here, and Package.cmake knows how an installed resnetConfig.cmake finds each of them.
include(CMakePackageConfigHelpers)
include(Package)

get_property(rooms GLOBAL PROPERTY RESNET_ROOMS)
set(external "")
add_library(resnet)
foreach(room ${rooms})
  target_sources(resnet PRIVATE $<TARGET_OBJECTS:${room}>)
  get_target_property(links ${room} LINK_LIBRARIES)
  foreach(link ${links})
    if(link MATCHES "^resnet_")
      continue()  # another room, or our warnings
    endif()
    list(APPEND external ${link})
  endforeach()
endforeach()
list(REMOVE_DUPLICATES external)
resnet_find_code("${external}" RESNET_DEPENDENCIES)

add_library(resnet::resnet ALIAS resnet)
set_target_properties(resnet PROPERTIES LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION}
                                        SOVERSION ${PROJECT_VERSION_MAJOR})
target_compile_features(resnet PUBLIC cxx_std_20)
target_include_directories(resnet PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(resnet PRIVATE ${external})

install(TARGETS resnet EXPORT resnetTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/resnet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET resnet_cli)
  install(TARGETS resnet_cli)
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/resnet)
configure_package_config_file(cmake/resnetConfig.cmake.in ${PROJECT_BINARY_DIR}/resnetConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/resnetConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/resnetConfig.cmake
              ${PROJECT_BINARY_DIR}/resnetConfigVersion.cmake
        DESTINATION ${package_dir})
install(EXPORT resnetTargets NAMESPACE resnet:: DESTINATION ${package_dir})
