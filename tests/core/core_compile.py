"""Compiles each kernel for compute capability 8.0 and 9.0; needs no device. Prints one line a kernel."""

from __future__ import annotations

import re
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dgdd_cli.core import cvar_kernel, spectral_kernel

FLOATS, BYTES, INTEGERS = "*fp32", "*u8", "*i64"
SURGERY = {
    **dict.fromkeys(("spectra", "diversity", "shared_out", "diversity_out", "agreement_out"), FLOATS),
    **dict.fromkeys(("number", "channels", "lanes", "stride"), "i32"),
    **dict.fromkeys(("power", "eps"), "fp32"),
    "present": BYTES,
    "order": INTEGERS,
    "offsets": INTEGERS,
}
RISK = {
    **dict.fromkeys(("losses", "weights", "values", "gradient", "masses"), FLOATS),
    **dict.fromkeys(("order", "offsets"), INTEGERS),
    "tail": "*fp64",
}
# what the launcher knows of the usual sizes: all pointers and these strides are multiples of 16
ALIGNED = {"lanes", "stride"}
KERNELS: tuple[tuple[Any, dict[str, str], dict[str, Any]], ...] = (
    (
        spectral_kernel.pooled_surgery_kernel,
        SURGERY,
        {"POWER_IS_ONE": False, "DOMAINS": 3, "ROWS": 4, "LANES": 512},
    ),
    (
        spectral_kernel.segmented_surgery_kernel,
        SURGERY,
        {
            "POWER_IS_ONE": True,
            "DOMAINS": 3,
            "ROWS": spectral_kernel.SEGMENT_ROWS,
            "LANES": spectral_kernel.SEGMENT_LANES,
        },
    ),
    (cvar_kernel.tail_kernel, RISK, {"WEIGHTED": False, "BLOCK": cvar_kernel.BLOCK}),
    (cvar_kernel.tail_kernel, RISK, {"WEIGHTED": True, "BLOCK": cvar_kernel.BLOCK}),
)


def compile_for(capability: int, kernel: Any, types: dict[str, str], constants: dict[str, Any]) -> str:
    """The PTX of one specialisation of a kernel."""
    names = list(kernel.arg_names)
    signature = {name: types.get(name, "constexpr") for name in names}
    attributes = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name, kind in signature.items()
        if kind.startswith("*") or name in ALIGNED
    }
    source = ASTSource(
        kernel, signature, {(names.index(name),): value for name, value in constants.items()}, attributes
    )
    options = dict(spectral_kernel.OPTIONS)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return str(compiled.asm["ptx"])


def main() -> None:
    for capability in (80, 90):
        for kernel, types, constants in KERNELS:
            ptx = compile_for(capability, kernel, types, constants)
            wide = len(re.findall(r"ld\.global[\w.:]*\.v4", ptx))
            print(f"{kernel.__name__} sm_{capability}: {wide} loads of 16 bytes")


if __name__ == "__main__":
    main()
