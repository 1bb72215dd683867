#!/bin/sh
# What the lab carries, against plain veth on the same machine in one run. As root, with iperf3 and iproute2:
#   cargo build --release && tests/bench/lab.sh
set -eu
cd "$(dirname "$0")/../.."
PATH=$PWD/target/release:$PATH
seconds=${SECONDS_EACH:-5}

# The sum that the receiver saw, in Gbit/s.
rate() {
	awk '/receiver/ { rate = $0 } END {
		n = split(rate, w, " ")
		for (i = 2; i <= n; i++) if (w[i] ~ /bits\/sec/) { v = w[i - 1]; if (w[i] ~ /^M/) v /= 1000; printf "%.2f\n", v }
	}'
}

# Packets a second that arrived, of small datagrams sent as fast as they go.
packets() {
	awk -v t="$seconds" '/receiver/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\/[0-9]+$/) { split($i, n, "/"); printf "%d\n", (n[2] - n[1]) / t } }'
}

veth() {
	# shellcheck disable=SC2016 # The inner shell expands it.
	unshare -mn sh -eu -c '
		mount -t tmpfs none /run
		ip link set lo up
		ip netns add b
		ip link add v0 type veth peer name v1 netns b
		ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up
		ip netns exec b ip addr add 10.9.0.2/24 dev v1 && ip netns exec b ip link set v1 up
		ip netns exec b iperf3 -s >/dev/null &
		server=$!
		sleep 0.5
		iperf3 -c 10.9.0.2 "$@"
		kill -9 "$server"' sh -t "$seconds" "$@"
}

lab() {
	# shellcheck disable=SC2016 # The inner shell expands it.
	nixvol-net lab run -- sh -eu -c '
		nixvol-net lab exec etcd-2 -- iperf3 -s >/dev/null &
		sleep 1
		nixvol-net lab exec etcd-1 -- iperf3 -c etcd-2.nixvol "$@"' sh -t "$seconds" "$@"
}

for way in veth lab; do
	echo "$way, one connection: $($way | rate) Gbit/s"
	echo "$way, ten connections: $($way -P 10 | rate) Gbit/s"
	echo "$way, datagrams of 64 bytes: $($way -u -b 0 -l 64 | packets) a second"
done
