#!/usr/bin/env bash
# A VM of a cloud image, as far as its network goes: two interfaces, what cloud-init wrote, and one file of a bundle's
# `guests/NAME`. Runs in namespaces of its own; prints which interface has which address, route and name servers.
#
#   unshare --net --mount --pid --fork system.sh networkd|netplan|NetworkManager FILE
set -euo pipefail
system=$1 file=$(realpath "$2")
name=${file##*/}

ip link set lo up
ip link add enp0s1 address 52:54:00:12:34:56 type veth peer name p0
ip link add enp0s2 address 52:54:00:12:34:57 type veth peer name p1
ip link set p0 up
ip link set p1 up

mount -t tmpfs scratch /mnt
mkdir /mnt/upper /mnt/work
cp "$file" /mnt/file
mount -t overlay etc -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mount -t tmpfs run /run
rm -rf /etc/systemd/network /etc/netplan /etc/NetworkManager
mkdir -p /etc/systemd/network /etc/netplan /run/systemd/network /run/systemd/netif/{links,leases,lldp} /run/dbus /run/NetworkManager \
	/etc/NetworkManager/{conf.d,system-connections}
chown -R systemd-network /run/systemd/netif 2>/dev/null || true
# Without udev no interface would ever be ready.
mount -t sysfs -o ro sysfs /sys

case $system in
networkd)
	# cloud-init's own renderer, and what netplan makes of cloud-init's file.
	printf '[Match]\nName=enp0s1\n\n[Network]\nDHCP=ipv4\n' | tee /etc/systemd/network/10-cloud-init-enp0s1.network >/run/systemd/network/10-netplan-enp0s1.network
	cp /mnt/file "/etc/systemd/network/$name"
	;;
netplan)
	printf 'network:\n  version: 2\n  ethernets:\n    enp0s1:\n      dhcp4: true\n' >/etc/netplan/50-cloud-init.yaml
	cp /mnt/file "/etc/netplan/$name"
	chmod 600 /etc/netplan/*
	netplan generate
	;;
NetworkManager)
	mount -t tmpfs state /var/lib/NetworkManager
	printf '[main]\nplugins=keyfile\n\n[keyfile]\nunmanaged-devices=interface-name:p*\n\n[device]\nmatch-device=interface-name:enp*\nmanaged=1\n' >/etc/NetworkManager/conf.d/veth.conf
	printf '[connection]\nid=cloud-init enp0s1\ntype=ethernet\ninterface-name=enp0s1\nautoconnect-priority=120\n\n[ipv4]\nmethod=auto\n' \
		>/etc/NetworkManager/system-connections/cloud-init-enp0s1.nmconnection
	cp /mnt/file "/etc/NetworkManager/system-connections/$name"
	chmod 600 /etc/NetworkManager/system-connections/*
	;;
esac

# What this starts ends with the namespace.
case $system in
NetworkManager)
	dbus-daemon --system --fork
	NetworkManager --no-daemon >/run/log 2>&1 &
	;;
*) SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-networkd >/run/log 2>&1 & ;;
esac
# Until something has an address or ten seconds are over.
for _ in $(seq 100); do
	[[ -n $(ip -4 route show default) ]] && break
	sleep 0.1
done
sleep 0.5

ip -4 -o addr show scope global | awk '{ print $2, $4 }'
ip -4 route show default | sed 's/ metric [0-9]*//; s/ *$//'
case $system in
NetworkManager) nmcli -g IP4.DNS device show enp0s1 | tr -d ' ' | tr '|' ' ' | sed 's/^/dns /' ;;
*) sed -n 's/^DNS=/dns /p' /etc/systemd/network/05-nixvol.network /run/systemd/network/10-netplan-00-nixvol.network 2>/dev/null || true ;;
esac
