#!/usr/bin/env bash
# A wrapper of the compiler, for RUSTC_WORKSPACE_WRAPPER: what compiles the tests lints them, in one go.
#
# What is a test itself, or the program, is not optimised: it costs more to compile than it saves; the library is, but not
# across its parts. The toy Mac, whose commands the tests start some hundred thousand times, is optimised, and linked against
# musl where Rust has it: glibc asks the processor for its features at every start, which takes a virtual machine half a
# millisecond. This is bash because dash drops variables like CARGO_BIN_EXE_nixvol-net.
set -- "$@" -C lto=off --deny warnings
case " $* " in
*" --crate-name toymac "*)
	set -- "$@" -C opt-level=3
	musl=$(uname -m)-unknown-linux-musl
	if [[ -d $("$1" --print sysroot)/lib/rustlib/$musl ]]; then set -- "$@" --target "$musl" -C relocation-model=static; fi
	;;
*" --test "* | *" --crate-name nixvol_net "*" --crate-type bin "*) set -- "$@" -C opt-level=0 ;;
esac
exec clippy-driver "$@"
