#!/bin/bash
# The network on a real Mac, from installing it to removing it, and the facts about macOS that no one has tried yet.
#
#   sudo tests/mac/live.sh PROGRAM [DIRECTORY]
#
# PROGRAM is `nixvol-net`; results go to standard output and, with a bug report, to DIRECTORY. Each fact is a line
# `fact NAME: yes|no|unasked (evidence)`, each step a line `ok` or `FAILED`. It exits 1 if a step failed; a fact never makes
# it fail. The Mac is left as it was found: nothing may be installed at /opt/nix-volumes before.
set -uo pipefail
export LC_ALL=C PATH=/usr/bin:/bin:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${1:?usage: sudo tests/mac/live.sh PROGRAM [DIRECTORY]}
out=${2:-$(mktemp -d)}
base=/opt/nix-volumes
manager=$base/networking/manage-macos-networking.sh
plist=/Library/LaunchDaemons/org.nix-volumes.networking.plist
receipt=/var/db/org.nix-volumes.networking.receipt
activate=$here/../../templates/activation/activate.sh
scratch=com.apple/251.nixvol-live
# Addresses of this script alone, and one of the internet that answers on a port.
one=198.18.77.1 other=198.18.77.2
internet=${LIVE_INTERNET:-1.1.1.1} internet_port=443

# What pfctl prints on every call.
noise='ALTQ\|Use of -f option\|present in the main ruleset\|See /etc/pf.conf'
failures=0

step() { # NAME COMMAND…
	local name=$1
	shift
	if "$@" >"$out/step.log" 2>&1; then
		echo "ok $name"
	else
		echo "FAILED $name: $* (exit $?)"
		sed 's/^/    /' "$out/step.log"
		failures=$((failures + 1))
	fi
}

fact() { # NAME yes|no|unasked EVIDENCE
	printf 'fact %s: %s (%s)\n' "$1" "$2" "$(printf '%s' "$3" | grep -v "$noise" | tr '\n\t' '; ' | cut -c1-200)"
}

# A fact that holds if a command succeeds; its output is the evidence.
fact_if() { # NAME COMMAND…
	local name=$1 words
	shift
	if words=$("$@" 2>&1 </dev/null); then fact "$name" yes "${words:-no output}"; else fact "$name" no "exit $?: $words"; fi
}

not() { ! "$@"; }

exits() { # CODE COMMAND…
	local code=$1
	shift
	"$@"
	[ "$?" -eq "$code" ]
}

# Loads rules from standard input into the anchor of this script; with -n only parses them.
rules() { pfctl "$@" -a "$scratch" -f - ; }
tried() { printf '%s\n' "$1" | rules -n; }
counted() { pfctl -a "$scratch" -v -s rules 2>/dev/null | awk -v label="\"$1\"" '
	index($0, "label " label) { found = 1; next }
	found && /Packets:/ { for (i = 1; i <= NF; i++) if ($i == "Packets:") { print $(i + 1); exit } }'; }
# The whole seconds that a command takes.
seconds() { local from=$SECONDS; "$@" >/dev/null 2>&1; echo $((SECONDS - from)); }

# ---- the Mac before and after

# What must be the same afterwards: interfaces with their IPv4 addresses, routes without what the kernel learns by itself,
# anchors and what they hold, forwarding, pipes, our files.
picture() {
	ifconfig -a | grep -v -e inet6 -e 'nd6 options' -e media: -e status:
	netstat -rn -f inet | awk '$3 !~ /[LW]/ { print $1, $2, $3, $4 }'
	sysctl -n net.inet.ip.forwarding
	pfctl -s Anchors 2>/dev/null
	for what in nat rules; do
		pfctl -s "$what" 2>/dev/null
		pfctl -a com.apple/250.nixvol -s "$what" 2>/dev/null
	done
	dnctl list 2>/dev/null
	cat /etc/hosts
	ls -d "$base" /var/db/nix-volumes-networking "$receipt" /etc/newsyslog.d/nix-volumes.conf "$plist" 2>/dev/null
	launchctl print system/org.nix-volumes.networking 2>/dev/null | head -1
}

# ---- facts about macOS that no one has tried yet

ask_the_system() {
	fact sh-is-bash-3.2 "$(/bin/sh -c 'case $BASH_VERSION in 3.2*) echo yes ;; *) echo no ;; esac')" \
		"$(/bin/sh -c 'echo "$BASH_VERSION"'), $(sw_vers -productVersion)"
	fact main-ruleset-calls-com.apple "$(pfctl -s nat 2>/dev/null | grep -q 'nat-anchor "com.apple/\*"' &&
		pfctl -s nat 2>/dev/null | grep -q 'rdr-anchor "com.apple/\*"' &&
		pfctl -s rules 2>/dev/null | grep -q '^anchor "com.apple/\*"' && echo yes || echo no)" \
		"$(pfctl -s nat 2>/dev/null | head -3) $(pfctl -s rules 2>/dev/null | head -3)"
	fact state-limit-is-10000 "$(pfctl -s memory 2>/dev/null | grep -q 'states.*10000' && echo yes || echo no)" \
		"$(pfctl -s memory 2>/dev/null | head -1)"
	fact pfctl-E-token-on-stderr "$(case $enabled in *'Token : '*) echo yes ;; *) echo no ;; esac)" "$enabled"
	local file
	file=$(mktemp)
	if xattr -w user.live 1 "$file" 2>/dev/null && chmod +a 'everyone allow write' "$file" 2>/dev/null; then
		# shellcheck disable=SC2012 # how ls shows it is the question
		fact ls-shows-at-sign-before-plus "$(ls -l "$file" | cut -c11 | sed 's/@/yes/; s/+/no/')" "$(ls -le "$file" | head -2)"
	else
		fact ls-shows-at-sign-before-plus unasked 'no extended attributes or access lists here'
	fi
	rm -f "$file"
	fact private-relay-is-off unasked 'visible to a person only: System Settings, Apple Account, iCloud, Private Relay'
	fact vmnet-keeps-call-points unasked 'start a VM with vmnet, then: manage-macos-networking.sh status'
	fact vmnet-forwards-without-a-lease unasked 'give a VM in a vmnet network a static address, then from the VM: ping a volume'
	fact vmnet-bridges-a-feth unasked 'socket_vmnet --vmnet-mode=bridged --vmnet-interface=feth20000 /tmp/vm.sock'
	fact vmenet-moves-to-another-bridge unasked 'while a VM runs: ifconfig bridge100 deletem vmenet0, ifconfig bridge2000 addm vmenet0, then ping the VM'
	fact bridges-of-feth-survive-sleep unasked 'close the lid, open it, then: manage-macos-networking.sh status'
}

ask_interfaces() {
	fact_if names-are-a-cloner-and-a-unit not ifconfig bridge-aws create
	ifconfig bridge2900 create 2>/dev/null && ifconfig bridge2900 inet "$one" netmask 255.255.255.0 up 2>/dev/null
	fact bridge-without-members-is-inactive "$(ifconfig bridge2900 2>/dev/null | grep -q 'status: inactive' && echo yes || echo no)" \
		"$(ifconfig bridge2900 2>&1 | tail -1)"
	fact_if bridge-without-members-answers ping -n -q -c 1 -t 2 "$one"
	ifconfig feth29000 create 2>/dev/null
	ifconfig feth29001 create 2>/dev/null
	fact_if feth-joins-a-bridge eval 'ifconfig feth29000 peer feth29001 && ifconfig bridge2900 addm feth29001'
	# Whether a bound source reaches the address of another interface depends on forwarding.
	ifconfig bridge2901 create 2>/dev/null && ifconfig bridge2901 inet "$other" netmask 255.255.255.255 up 2>/dev/null
	local forwarding setting
	forwarding=$(sysctl -n net.inet.ip.forwarding)
	for setting in 0 1; do
		sysctl -w "net.inet.ip.forwarding=$setting" >/dev/null
		fact_if "bound-between-bridges-forwarding-$setting" ping -n -q -c 1 -t 2 -S "$one" "$other"
	done
	sysctl -w "net.inet.ip.forwarding=$forwarding" >/dev/null
	ifconfig bridge2901 destroy 2>/dev/null
	ifconfig feth29001 destroy 2>/dev/null
	ifconfig feth29000 destroy 2>/dev/null
	ifconfig bridge2900 destroy 2>/dev/null
	local words
	if words=$(ifconfig bridge2900 create 2>&1); then
		fact destroyed-names-linger no 'it was created again at once'
	else
		fact destroyed-names-linger yes "$words"
		sleep 1
	fi
	ifconfig bridge2900 destroy 2>/dev/null
	fact_if route-exits-0-when-it-fails exits 0 route -n delete -net 198.18.78.0/24 -interface lo0
}

ask_loopback() {
	ifconfig lo0 alias "$one" netmask 255.255.255.255
	ifconfig lo0 alias "$other" netmask 255.255.255.255
	fact_if bound-local-to-local ping -n -q -c 1 -t 2 -S "$one" "$other"
	printf '%s\n' "pass out quick on lo0 inet proto icmp from $one to $other no state label \"live-out\"" \
		"pass in quick on lo0 inet proto icmp from $one to $other no state label \"live-in\"" | rules >/dev/null 2>&1
	ping -n -q -c 1 -t 2 -S "$one" "$other" >/dev/null 2>&1
	local out_count in_count
	out_count=$(counted live-out) in_count=$(counted live-in)
	fact pf-is-asked-twice-on-lo0 "$([ "${out_count:-0}" -gt 0 ] && [ "${in_count:-0}" -gt 0 ] && echo yes || echo no)" \
		"out ${out_count:-none}, in ${in_count:-none}"

	printf '%s\n' "block return out quick on lo0 inet proto tcp from $one to $other port 7" | rules >/dev/null 2>&1
	local took
	took=$(seconds nc -z -G 4 -s "$one" "$other" 7)
	fact block-return-out-is-silent "$([ "$took" -ge 3 ] && echo yes || echo no)" "nc took $took seconds"
	fact nc-G-is-in-seconds "$([ "$took" -ge 3 ] && [ "$took" -le 6 ] && echo yes || echo no)" "-G 4 took $took seconds"
	# There is a listener, so that only a rule can refuse.
	nc -l "$other" 7003 </dev/null >/dev/null 2>&1 &
	local listener=$! refused=yes
	sleep 1
	printf '%s\n' "pass out quick on lo0 inet proto tcp from $one to $other port 7003 no state" \
		"block return in quick on lo0 inet proto tcp from $one to $other port 7003" | rules >/dev/null 2>&1
	took=$SECONDS
	if nc -z -G 4 -s "$one" "$other" 7003 >/dev/null 2>&1; then refused=no; fi
	took=$((SECONDS - took))
	fact block-return-in-answers "$([ $refused = yes ] && [ "$took" -le 1 ] && echo yes || echo no)" \
		"refused: $refused, after $took seconds"
	kill "$listener" 2>/dev/null
	wait "$listener" 2>/dev/null

	printf '%s\n' "rdr pass on lo0 inet proto tcp from any to $one port 7001 -> $other port 7002" | rules >/dev/null 2>&1
	nc -l "$other" 7002 </dev/null >/dev/null 2>&1 &
	listener=$!
	sleep 1
	fact_if redirection-below-com.apple nc -z -G 3 "$one" 7001
	kill "$listener" 2>/dev/null
	wait "$listener" 2>/dev/null

	printf 'block return quick inet proto icmp from %s to %s\n' "$one" "$other" | pfctl -a "$scratch/child" -f - >/dev/null 2>&1
	pfctl -a "$scratch" -F all >/dev/null 2>&1
	fact_if grandchildren-are-not-asked ping -n -q -c 1 -t 2 -S "$one" "$other"
	pfctl -a "$scratch/child" -F all >/dev/null 2>&1

	# Both decide; the one whose name is less comes first, although it was loaded last.
	local first=com.apple/249.nixvol-live
	printf 'pass quick inet proto icmp from %s to %s no state\n' "$one" "$other" | rules >/dev/null 2>&1
	printf 'block drop quick inet proto icmp from %s to %s\n' "$one" "$other" | pfctl -a "$first" -f - >/dev/null 2>&1
	fact_if anchors-are-asked-in-the-order-of-names not ping -n -q -c 1 -t 2 -S "$one" "$other"
	pfctl -a "$first" -F all >/dev/null 2>&1
	pfctl -a "$scratch" -F all >/dev/null 2>&1

	local way
	way=$(route -n get default 2>/dev/null | awk '/interface:/ { print $2 }')
	if [ -n "$way" ] && nc -z -G 5 "$internet" "$internet_port" >/dev/null 2>&1; then
		printf 'nat on %s inet from %s to any -> (%s:0)\n' "$way" "$one" "$way" | rules >/dev/null 2>&1
		fact_if alias-on-lo0-reaches-the-internet nc -z -G 5 -s "$one" "$internet" "$internet_port"
	else
		fact alias-on-lo0-reaches-the-internet unasked "no egress interface by which $internet answers"
	fi
	pfctl -a "$scratch" -F all >/dev/null 2>&1
	ifconfig lo0 -alias "$one"
	ifconfig lo0 -alias "$other"
}

ask_pfctl() {
	local nat="nat on en0 inet from $one to any -> (en0:0)"
	fact_if extfilter-ei-is-read tried "$nat extfilter ei"
	fact_if extfilter-apd-is-read tried "$nat extfilter apd"
	fact_if scrub-reassembles tried "scrub in inet from $one to any no-df fragment reassemble"
	fact_if return-icmp-is-read tried "block return-icmp quick inet proto tcp from $one to any"
	fact_if icmp-type-unreach-is-read tried "pass quick inet proto icmp from $one to any icmp-type unreach no state"
	fact_if dummynet-rules-are-read tried "table <live> const { $one }
dummynet out quick on ! lo0 inet from <live> to any pipe 29998"
	fact_if dnctl-makes-a-pipe dnctl pipe 29998 config delay 5
	fact dnctl-list-says yes "$(dnctl list 2>&1 | head -2)"
	printf 'dummynet out quick on lo0 inet from %s to any pipe 29998\n' "$one" | rules >/dev/null 2>&1
	pfctl -a "$scratch" -F all >/dev/null 2>&1
	local left
	left=$(pfctl -a "$scratch" -s dummynet 2>/dev/null)
	fact flush-all-takes-dummynet "$([ -z "$left" ] && echo yes || echo no)" "left: ${left:-nothing}"
	rules </dev/null >/dev/null 2>&1
	dnctl pipe delete 29998 2>/dev/null
	fact_if absent-anchor-is-no-error pfctl -a com.apple/252.nixvol-absent -s rules
}

# ---- the network itself

damage() {
	local bridge
	bridge=$(awk '$1 == "bridge-aws" { print $2 }' /var/db/nix-volumes-networking/names)
	ifconfig lo0 -alias 10.0.1.2 && ifconfig "$bridge" destroy && pfctl -a com.apple/250.nixvol -F all
}

has_address() { ifconfig lo0 | grep -q "inet $1 "; }

waits_until() { # LOOKS COMMAND…
	local left=$1
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 2
	done
}

# What of `run` only a Mac shows: whether dyld takes the library, built here for this processor, and whether SIP is seen.
acts() {
	cat >"$out/sender.c" <<-'END'
		#include <arpa/inet.h>
		#include <stdio.h>
		#include <sys/socket.h>
		int main(void)
		{
			struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)}, own;
			socklen_t length = sizeof own;
			int sender = socket(AF_INET, SOCK_DGRAM, 0);
			to.sin_addr.s_addr = inet_addr("10.1.1.2");
			if (connect(sender, (struct sockaddr *)&to, sizeof to) || getsockname(sender, (struct sockaddr *)&own, &length))
				return 1;
			return printf("%s\n", inet_ntoa(own.sin_addr)) < 0;
		}
	END
	if cc -o "$out/sender" "$out/sender.c" >/dev/null 2>&1; then
		words=$("$program" run etcd-1 -- "$out/sender" 2>&1)
		fact run-binds-what-binds-nothing "$(if [ "$words" = 10.0.1.2 ]; then echo yes; else echo no; fi)" \
			"as etcd-1: $words; without: $("$out/sender" 2>&1)"
	else
		fact run-binds-what-binds-nothing unasked "no compiler here (xcode-select --install)"
	fi
	fact_if run-refuses-what-sip-protects exits 125 "$program" run etcd-1 -- /usr/bin/true
}

life() {
	step render "$program" render --out "$out/bundle"
	step check /bin/sh "$activate" "$receipt" check "$out/bundle" /etc/newsyslog.d/nix-volumes.conf "$base" \
		/var/db/nix-volumes-networking /var/log/nix-volumes-networking.log /etc/hosts com.apple/250.nixvol
	step install /bin/sh "$activate" "$receipt" install "$out/bundle" /etc/newsyslog.d/nix-volumes.conf "$base" \
		/var/db/nix-volumes-networking /var/log/nix-volumes-networking.log /etc/hosts com.apple/250.nixvol
	step plist cp "$out/bundle/launchd/org.nix-volumes.networking.plist" "$plist"
	step load launchctl bootstrap system "$plist"
	step start "$manager" start
	step status "$manager" status
	step again "$manager" start
	step test "$manager" test
	step partition "$manager" partition aws azure --for 300
	step test-under-partition "$manager" test
	step heal "$manager" heal
	acts
	step reconcile "$manager" reconcile
	step program-status "$program" status
	step damage damage
	step damage-is-seen exits 1 "$manager" status
	step repair "$manager" reconcile
	step repaired "$manager" status
	step logs "$manager" logs --collect "$out/report"
	step stop "$manager" stop
	step stopped "$manager" status
	step start-to-confirm "$manager" start --confirm-within 10
	step up-until-confirmed has_address 10.0.1.2
	step expires waits_until 30 not test -e /var/db/nix-volumes-networking/pending
	step rolled-back not has_address 10.0.1.2
	step start-and-confirm "$manager" start --confirm-within 60
	step confirm "$manager" confirm
	step cleanup "$manager" cleanup
	step uninstall "$base/uninstall.sh"
}

[ "$(id -u)" = 0 ] || {
	echo "this needs root: sudo tests/mac/live.sh $*" >&2
	exit 77
}
if [ -e "$base" ] || [ -e "$receipt" ]; then
	echo "a network is installed at $base: remove it first, with $base/uninstall.sh" >&2
	exit 3
fi
mkdir -p "$out"
picture >"$out/before"
# Rules are evaluated only while pf is enabled.
enabled=$(pfctl -E 2>&1 >/dev/null)
ask_the_system
ask_interfaces
ask_loopback
ask_pfctl
pfctl -X "$(printf '%s\n' "$enabled" | sed -n 's/.*Token : //p')" >/dev/null 2>&1
picture >"$out/asked"
step the-questions-left-nothing diff "$out/before" "$out/asked"
life
picture >"$out/after"
step the-mac-is-as-it-was diff "$out/before" "$out/after"
chmod -R a+rX "$out"
echo "$failures steps failed; the report is in $out"
[ "$failures" -eq 0 ]
