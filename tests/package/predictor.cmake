# Builds without the optional parts, trains and predicts with that, and asks for what is not there.
#   cmake -D SOURCE=… -D WORK=… -P predictor.cmake
function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${WORK} RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(output "${output}" PARENT_SCOPE)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${result}): ${command}\n${output}")
  endif()
endfunction()

# The command fails and says `text`.
function(refused text)
  execute_process(COMMAND ${resnet} ${ARGN} WORKING_DIRECTORY ${WORK} RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(FIND "${output}" "${text}" at)
  if(result EQUAL 0 OR at LESS 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "expected '${text}', found (${result}): resnet ${command}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
run(${CMAKE_COMMAND} --preset predictor -S ${SOURCE})
run(${CMAKE_COMMAND} --build ${SOURCE}/build/predictor)
set(resnet ${SOURCE}/build/predictor/src/resnet)

run(${resnet} data galaxies --out images --count 16 --size 16)
run(${resnet} train images --arch resnet8 --epochs 1 --batch-size 8 --out run)
run(${resnet} predict run images --top 1)
run(${resnet} export run --to torch -o model.pth)

file(WRITE ${WORK}/a.webp "RIFF....WEBPVP8 ")
file(WRITE ${WORK}/a.fits "SIMPLE  =                    T")
refused("this build reads no WebP; configure it with -D RESNET_WEBP=ON" predict run a.webp)
refused("this build reads no FITS; configure it with -D RESNET_FITS=ON" predict run a.fits)
refused("this build writes no ONNX; configure it with -D RESNET_ONNX=ON" export run --to onnx -o m.onnx)
file(WRITE ${WORK}/cifar-10-binary.tar.gz "x")
refused("this build reads no archives; configure it with -D RESNET_ARCHIVE=ON" data check
        cifar-10-binary.tar.gz)
refused("this build downloads nothing; configure it with -D RESNET_DOWNLOAD=ON" data get mnist
        --cache cache)
# HDF5 begins with bytes that CMake cannot write.
run(sh -c "printf '\\211HDF\\r\\n\\032\\n' > a.h5")
refused("this build reads no HDF5; configure it with -D RESNET_HDF5=ON" data check a.h5)
