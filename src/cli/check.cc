// What is wrong with a command line before the library sees it.
#include "cli/parse.h"

namespace phiquant::cli {
namespace {

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

Result<void> check_output(const Invocation& q) {
  const Request& o = q.quantize;
  if (o.output.path.empty())
    return usage("--output: missing (give -o OUT: a folder, or a file ending in .onnx or .gguf)");
  if (o.output.path == "-")
    return usage(
        "--output -: a model cannot be written to standard output, because it is written out of "
        "order "
        "(give a file or folder)");
  if (q.report == "-")
    return usage("--report -: wanted a file name (--json prints the report on standard output)");
  return {};
}

}  // namespace

Result<void> check_request(const Invocation& request) {
  if (request.quiet && request.verbose)
    return usage("--quiet and --verbose: contradict each other (leave one out)");
  if (request.verb == Verb::quantize) return check_output(request);
  return {};
}

}  // namespace phiquant::cli
