// Architectures that are known, and refused: why, and what to do.
#include "model/arch/arch.h"

namespace phiquant::arch {
namespace {

const Architecture kRows[] = {
    {"MixFormerSequentialForCausalLM",
     "mixformer-sequential",
     nullptr,
     {},
     {},
     false,
     "this is the first layout of Phi-1, Phi-1.5 and Phi-2; download the repository's present "
     "revision (PhiForCausalLM)"},
    {"Phi4FlashForCausalLM",
     "phi4flash",
     nullptr,
     {},
     {},
     false,
     "its state-space layers are not implemented"},
};

}  // namespace

std::span<const Architecture> refused() { return kRows; }

}  // namespace phiquant::arch
