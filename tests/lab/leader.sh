#!/bin/sh
# Prints the member of etcd that leads: of those that say so of themselves, the one with the highest term, because a
# leader that was cut off learns of its successor only later.
set -eu

for member in etcd-1 etcd-2 etcd-3; do
	# A member asks itself, so that no cut path hides it.
	nixvol-net lab exec "$member" -- env ETCDCTL_API=3 etcdctl --dial-timeout 1s --command-timeout 1s \
		--endpoints "http://$member.nixvol:2379" endpoint status 2>/dev/null | sed "s/^/$member, /" || true
done | awk -F ', ' '$6 == "true" && $8 + 0 >= term { term = $8 + 0; leader = $1 } END { if (leader == "") exit 1; print leader }'
