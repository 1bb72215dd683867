#!/usr/bin/env bash
# A wrapper of the compiler, for RUSTC_WORKSPACE_WRAPPER. The toy Mac, whose commands the tests start some hundred thousand
# times, is linked against musl where Rust has it: glibc asks the processor for its features at every start, which takes a
# virtual machine half a millisecond. What is a test itself is not optimised: it costs more to compile than it saves; the
# library and the program that it calls are. It is bash because dash drops variables like CARGO_BIN_EXE_nixvol-net.
case " $* " in
*" --crate-name toymac "*)
	set -- "$@" -C opt-level=3
	musl=$(uname -m)-unknown-linux-musl
	if [[ -d $("$1" --print sysroot)/lib/rustlib/$musl ]]; then set -- "$@" --target "$musl" -C relocation-model=static; fi
	;;
*" --test "*) set -- "$@" -C opt-level=0 ;;
esac
exec "$@"
