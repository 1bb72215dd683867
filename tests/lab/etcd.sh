#!/bin/sh
# A three-node etcd on three clouds: it forms, serves a worker, loses the leader's cloud, elects another, and heals.
# Run it as: nixvol-net lab run --input tests/lab/etcd.json -- tests/lab/etcd.sh
set -eu

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
members=etcd-1=http://etcd-1.nixvol:2380,etcd-2=http://etcd-2.nixvol:2380,etcd-3=http://etcd-3.nixvol:2380

# What a volume runs: nixvol-net lab exec VOLUME -- COMMAND.
as() {
	volume=$1
	shift
	nixvol-net lab exec "$volume" -- "$@"
}

# etcdctl on the worker, speaking to the members named.
ask() {
	endpoints=
	for member in $1; do
		endpoints=${endpoints:+$endpoints,}http://$member.nixvol:2379
	done
	shift
	ETCDCTL_API=3 as worker etcdctl --dial-timeout 1s --command-timeout 2s --endpoints "$endpoints" "$@" 2>>"$data/etcdctl.log"
}

# Tries a command once a second, for a time that is long enough for a busy machine.
within() {
	tries=$1
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 1
	done
}

# The member that leads, as the members named see it.
leader() {
	for member in $1; do
		case $(ask "$member" endpoint status) in
		*", true, "*)
			echo "$member"
			return
			;;
		esac
	done
	return 1
}

forms() { leader "$all" >/dev/null && ask "$all" endpoint health >/dev/null; }
leads() { leader "$others" >/dev/null; }
agrees() { [ "$(ask "$was" get --print-value-only greeting)" = "hello again" ]; }

all="etcd-1 etcd-2 etcd-3"
for member in $all; do
	as "$member" etcd --name "$member" --data-dir "$data/$member" \
		--listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls "http://$member.nixvol:2380" \
		--listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "http://$member.nixvol:2379" \
		--initial-cluster "$members" >"$data/$member.log" 2>&1 &
done

if ! within "${PATIENCE:-30}" forms; then
	echo "no cluster: the members do not reach each other"
	exit 1
fi
echo "three members on three clouds, one is the leader"
ask "$all" put greeting hello >/dev/null
echo "the worker wrote, and reads: $(ask "$all" get --print-value-only greeting)"

# With an argument the cluster stays as it is until that file appears; then all must be as before.
if [ "$#" -gt 0 ]; then
	trap 'rm -rf "$data"; kill 0' TERM
	until [ -e "$1" ]; do sleep 0.2; done
	within 10 forms
	ask "$all" put greeting "hello again" >/dev/null
	echo "all as before: $(ask "$all" get --print-value-only greeting)"
	exit
fi

was=$(leader "$all")
others=$(for member in $all; do [ "$member" = "$was" ] || printf '%s ' "$member"; done)
nixvol-net lab partition "$was" >/dev/null
echo "the leader is partitioned from all others"
within 30 leads
ask "$others" put greeting "hello again" >/dev/null
echo "another leads, and the worker goes on: $(ask "$others" get --print-value-only greeting)"
if ask "$was" get greeting; then exit 1; fi
echo "the partitioned member answers no request"

nixvol-net lab heal >/dev/null
within 30 agrees
echo "healed: who was cut off says it too: $(ask "$was" get --print-value-only greeting)"
