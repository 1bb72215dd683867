#!/usr/bin/env bash
# A wrapper of the compiler, for RUSTC_WORKSPACE_WRAPPER. The toy Mac, whose commands the tests start some hundred thousand
# times, is linked statically where there is a static C library, and starts in half the time. What is a test itself is not
# optimised: it costs more to compile than it saves; the library and the program that it calls are. It is bash because dash
# drops variables like CARGO_BIN_EXE_nixvol-net.
case " $* " in
*" --crate-name toymac "*)
	case $(cc -print-file-name=libc.a) in
	/*) set -- "$@" -C target-feature=+crt-static -C relocation-model=static ;;
	esac
	;;
*" --test "*) set -- "$@" -C opt-level=0 ;;
esac
exec "$@"
