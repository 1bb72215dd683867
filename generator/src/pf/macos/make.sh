#!/bin/sh
# Makes the tables of names beside this file from a checkout of github.com/apple-oss-distributions/files:
#   make.sh CHECKOUT [DIRECTORY FOR THE TABLES]
# services   NAME PORT, sorted by name: what pfctl makes of the name, which asks for tcp and then for udp.
# protocols  NUMBER NAME ALIAS..., sorted by number: the first name is the one that is printed.
# users      NAME NUMBER, sorted by name, with the names that Open Directory knows beside the first; groups likewise.
set -eu
LC_ALL=C
export LC_ALL

files=$1
tables=${2-$(dirname "$0")}
records=$files/System/Library/DirectoryServices/DefaultLocalDB/Default

# Names and a number out of property lists: NAME NUMBER a line. The names of Windows (BUILTIN\...) are left out.
accounts() { # DIRECTORY KEY
	awk -v key="$2" '
		/<key>/ { split($0, part, /[<>]/); now = part[3] }
		/<string>/ {
			split($0, part, /[<>]/)
			if (now == "name" && part[3] !~ /[ \\]/) names[++count] = part[3]
			if (now == key) number = part[3] + 0
		}
		/<\/plist>/ {
			# A negative number is what it is to the kernel.
			if (number < 0) number += 4294967296
			for (at = 1; at <= count; at++) printf "%s %.0f\n", names[at], number
			count = 0
		}
	' "$1"/*.plist | sort -u
}

awk '
	{ sub(/#.*/, "") }
	$2 ~ /^[0-9]+\/(tcp|udp)$/ {
		split($2, end, "/")
		$2 = ""
		for (at = split($0, names, " "); at > 0; at--)
			if (!((names[at], end[2]) in port)) {
				port[names[at], end[2]] = end[1]
				all[names[at]]
			}
	}
	END { for (name in all) print name, ((name, "tcp") in port) ? port[name, "tcp"] : port[name, "udp"] }
' "$files/private/etc/services" | sort >"$tables/services.txt"

awk '{ sub(/#.*/, "") } NF > 1 { name = $1; $1 = $2; $2 = name; print }' "$files/private/etc/protocols" |
	sort -n -s -k 1,1 >"$tables/protocols.txt"

accounts "$records/users" uid >"$tables/users.txt"
accounts "$records/groups" gid >"$tables/groups.txt"
