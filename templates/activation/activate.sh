#!/bin/sh
# Installs the files of a bundle where macOS expects them, and removes them again.
#
#   activate.sh RECEIPT check BUNDLE NEWSYSLOG BASE PLACE…    whether install, and the start after it, would be refused
#   activate.sh RECEIPT install BUNDLE NEWSYSLOG BASE PLACE…
#   activate.sh RECEIPT check-remove
#   activate.sh RECEIPT remove [PLISTS]
#   activate.sh                                               remove what a switch installed
#
# `check` and `check-remove` change nothing. A copy of this script is installed as BASE/uninstall.sh.
#
# RECEIPT lists BASE and the other paths that the bundle was rendered for (files of the manager, its anchor), one a
# line, and RECEIPT.files the paths of the files that were installed. A bundle for other paths has a different manager,
# which does not know what the old one created, so the old one cleans up before the new one is installed. No existing
# file that RECEIPT.files does not list is replaced or deleted, but for one: PLISTS is the directory that launchd loads
# jobs from, and remove unloads our job and deletes its plist there, even if it was put there by hand.
set -eu
umask 022
PATH=/usr/bin:/bin:/usr/sbin:/sbin

label=org.nix-volumes.networking

fail() {
	printf 'nixvol-net: %s\n' "$1" >&2
	exit 1
}

# Root runs the programs below BASE, so no other user may be able to change them.
check_owner() {
	for directory in "$1" "$1/networking"; do
		[ -d "$directory" ] || continue
		[ -z "$(find "$directory" -prune \( ! -user "$(id -u)" -o -perm -020 -o -perm -002 \))" ] ||
			fail "$directory can be changed by users other than root; hint: chown root:wheel $directory && chmod go-w $directory"
	done
}

is_ours() {
	[ -f "$receipt.files" ] && grep -Fqx -- "$1" "$receipt.files"
}

# Replaces a file atomically: no reader sees half of it.
put() { # SOURCE TARGET
	mkdir -p "${2%/*}"
	rm -f "$2.new"
	cp "$1" "$2.new"
	if [ -x "$1" ] || [ "$2" = "$base/uninstall.sh" ]; then chmod 755 "$2.new"; else chmod 644 "$2.new"; fi
	mv -f "$2.new" "$2"
}

# Replaces a file by standard input, atomically.
write() { # TARGET
	cat >"$1.new"
	mv -f "$1.new" "$1"
}

bundle_files() {
	(cd "$bundle" && find . -type f) | sed 's|^\./||' | LC_ALL=C sort
}

# The paths of the files to install, one a line.
targets() {
	bundle_files | while read -r file; do
		printf '%s\n' "$base/networking/$file"
	done
	printf '%s\n' "$newsyslog" "$base/uninstall.sh"
}

source_of() {
	case $1 in
	"$newsyslog") printf '%s\n' "$bundle/newsyslog.d/nix-volumes.conf" ;;
	"$base/uninstall.sh") printf '%s\n' "$0" ;;
	*) printf '%s\n' "$bundle/${1#"$base/networking/"}" ;;
	esac
}

# Reads the arguments of install, and fails where install has to be refused.
check_install() {
	bundle=$1 newsyslog=$2
	shift 2
	base=$1
	[ -x "$bundle/manage-macos-networking.sh" ] || fail "$bundle is not a bundle"
	check_owner "$base"
	wanted=$(targets)
	printf '%s\n' "$wanted" | while read -r target; do
		if [ -e "$target" ] && ! is_ours "$target"; then
			fail "$target already exists; hint: move it elsewhere and switch again"
		fi
	done
	if moves "$@"; then check_remove; fi
}

# Whether the installed bundle was rendered for other paths than these.
moves() {
	[ -f "$receipt" ] && ! printf '%s\n' "$@" | cmp -s - "$receipt"
}

# Refuses before the switch what would fail at its end. The manager of the new bundle checks whether it could start. For
# a bundle with other paths that is known only once the old network is gone.
check_start() {
	check_install "$@"
	shift 2
	if moves "$@"; then
		printf 'nixvol-net: note: the network moves from %s, so whether it can start is known only at the end of the switch\n' "$installed" >&2
		return 0
	fi
	"$bundle/manage-macos-networking.sh" plan --switch ||
		fail 'the network cannot be started, so nothing was changed; hint: fix what is reported above, or switch with services.nixvol-net.enable = false'
}

install_bundle() {
	check_install "$@"
	shift 2
	if moves "$@"; then remove_installed; fi
	installed=$base

	known=
	[ ! -f "$receipt.files" ] || known=$(cat "$receipt.files")
	mkdir -p "${receipt%/*}"
	# Until all is done the list names old and new files, so that an interrupted run loses track of none.
	printf '%s\n' "$wanted" "$known" | LC_ALL=C sort -u | sed '/^$/d' | write "$receipt.files"
	printf '%s\n' "$@" | write "$receipt"

	printf '%s\n' "$wanted" | while read -r target; do
		put "$(source_of "$target")" "$target"
	done
	printf '%s\n' "$known" | while read -r target; do
		printf '%s\n' "$wanted" | grep -Fqx -- "$target" || forget "$target"
	done
	printf '%s\n' "$wanted" | write "$receipt.files"
}

# Removes a file, and the directories below BASE that it leaves empty.
forget() { # TARGET
	[ -n "$1" ] || return 0
	rm -f "$1" "$1.new"
	directory=${1%/*}
	while [ "${directory#"$installed"/}" != "$directory" ]; do
		[ ! -d "$directory" ] || rmdir "$directory" 2>/dev/null || break
		directory=${directory%/*}
	done
}

# Whether standard input (a plist, or output of launchctl) names the installed manager, or $1 is a copy of our plist.
is_of_manager() {
	grep -Fq -e "$installed/networking/manage-macos-networking.sh" ||
		{ [ -f "$installed/networking/launchd/$label.plist" ] && cmp -s "$1" "$installed/networking/launchd/$label.plist"; }
}

# The job is unloaded before anything is removed, so that launchd does not bring the network up again.
unload_job() {
	if launchctl print "system/$label" 2>/dev/null | is_of_manager "$plists/$label.plist"; then
		launchctl bootout "system/$label" || ! launchctl print "system/$label" >/dev/null 2>&1 ||
			fail "launchd does not unload $label; hint: launchctl bootout system/$label, then try again"
	fi
	[ -e "$plists/$label.plist" ] || [ -L "$plists/$label.plist" ] || return 0
	# shellcheck disable=SC2094 # it is only read
	if is_of_manager "$plists/$label.plist" 2>/dev/null <"$plists/$label.plist"; then
		rm -f "$plists/$label.plist"
	else
		printf 'nixvol-net: warning: %s does not belong to this network and is kept\n' "$plists/$label.plist" >&2
	fi
}

# Fails where remove has to be refused. Sets `installed`.
check_remove() {
	[ -f "$receipt" ] || return 0
	read -r installed <"$receipt"
	case $installed in
	/?*) ;;
	*) fail "$receipt is not a receipt of this program; hint: remove it and what is left of the network by hand" ;;
	esac
	check_owner "$installed"
}

# Unloads the job itself where PLISTS is given: nix-darwin does not know of one that a failed switch left behind.
remove_installed() {
	check_remove
	if [ ! -f "$receipt" ]; then
		discard_receipt
		return 0
	fi
	[ -z "$plists" ] || unload_job
	if [ -x "$installed/networking/manage-macos-networking.sh" ]; then
		"$installed/networking/manage-macos-networking.sh" cleanup
	else
		printf 'nixvol-net: warning: the manager in %s is missing, so the network was not cleaned up\n' "$installed" >&2
	fi
	[ ! -f "$receipt.files" ] || while read -r target; do
		forget "$target"
	done <"$receipt.files"
	# The directory is kept if it holds files of others.
	if [ -d "$installed" ] && [ -z "$(ls -A "$installed")" ]; then
		rmdir "$installed"
	fi
	discard_receipt
}

# The receipt is removed last: while it exists, the removal is tried again.
discard_receipt() {
	rm -f "$receipt.files" "$receipt.files.new" "$receipt.new"
	rm -f "$receipt"
}

if [ "$#" -eq 0 ]; then set -- "/var/db/$label.receipt" remove; fi
[ "$#" -ge 2 ] || fail 'usage: activate.sh [RECEIPT check|install|check-remove|remove …]'
receipt=$1 installed='' action=$2 plists=''
shift 2
case $action in
check) check_start "$@" ;;
install) install_bundle "$@" ;;
check-remove) check_remove ;;
remove)
	plists=${1:-/Library/LaunchDaemons}
	remove_installed
	;;
*) fail "no such action: $action" ;;
esac
