#include "core/guard.h"

#include <new>
#include <stdexcept>
#include <system_error>

#include "resnet/error.h"

namespace resnet {
namespace {

// Made while there is memory; copies of it share its text.
const Error kNoMemory(ErrorCode::kOutOfMemory,
                      "not enough memory; try a smaller batch, smaller images, or fewer threads");

}  // namespace

void throw_as_error() {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(kNoMemory);
  } catch (const std::length_error&) {  // more elements than there can be bytes
    throw Error(kNoMemory);
  } catch (const std::system_error& error) {  // of threads and folders
    if (error.code() == std::errc::not_enough_memory) throw Error(kNoMemory);
    throw Error(ErrorCode::kIo, error.what());
  }
}

}  // namespace resnet
