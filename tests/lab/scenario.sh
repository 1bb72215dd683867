#!/bin/sh
# Plays a scenario in the lab that is up, where an etcd runs: the leader's cloud is cut off from all others for a time,
# and another cloud is slow. Prints the timeline as JSON lines, with who leads.
# Run it as: tests/lab/scenario.sh SECONDS
set -eu

cut=$1
here=$(dirname "$0")
file=$(mktemp)
trap 'rm -f "$file"' EXIT
case $(sh "$here/leader.sh") in
etcd-1) leads=aws slow=azure ;;
etcd-2) leads=azure slow=gcp ;;
*) leads=gcp slow=aws ;;
esac
cat >"$file" <<EOT
[[step]]
at = 2
slow = ["$slow"]
latencyMs = 100
for = $((cut + 4))

[[step]]
at = 4
partition = ["$leads"]
for = $cut

[[step]]
at = $((cut + 10))
heal = []
EOT
nixvol-net lab scenario "$file" --watch "leader=sh $here/leader.sh" --format json
