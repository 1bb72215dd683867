#!/bin/sh
# Starts, stops, repairs and shows the nixvol-net network of this Mac.
#
# The program is the same for every network; the network itself is the table below.
# It reads the state of the Mac with read-only commands, lets one awk program compute the differences, makes only those
# changes, and looks again. Whatever it creates is recorded on disk first, so that the next run can complete or remove
# what a run that died at any point left.

# The environment is not trusted. A shell imports functions from it too, and they take precedence over builtins and
# tools. bash 3.2 in POSIX mode imports even a function named `[` and cannot unset it, so this program calls `test`.
unset -f test printf read cd pwd command umask true kill id ifconfig route netstat pfctl dnctl sysctl stat scutil ping nc launchctl \
    ps date sleep awk cat mv rm cp ln mkdir rmdir chmod head tail wc cmp sh ls sw_vers
IFS='
'
set -f
for VARIABLE in $(export -p); do
    VARIABLE=${VARIABLE#export }
    VARIABLE=${VARIABLE#declare -x }
    VARIABLE=${VARIABLE#typeset -x }
    case ${VARIABLE%%=*} in
        '' | [0-9]* | *[!A-Za-z0-9_]* | VARIABLE | PWD | PPID | *UID | *OPTS | BASH* | POSIXLY_CORRECT) ;;
        *) unset "${VARIABLE%%=*}" ;;
    esac
done
unset IFS
set +f
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH
LC_ALL=C
export LC_ALL
TZ=UTC0
export TZ
umask 077
set -u

BASE='/opt/nix-volumes'
STATE='/var/db/nix-volumes-networking'
LOG='/var/log/nix-volumes-networking.log'
HOSTS='/etc/hosts'
ANCHOR='com.apple/250.nixvol'
JOB=org.nix-volumes.networking

# Seconds to wait for another run to end; how many times to look, a second apart, for a change to take effect.
LOCK_SECONDS=30
LOOKS=3

TAB='	'
NEWLINE='
'

# The network: one record per line, fields separated by tabs, `-` for an absent value; a mount point is the last field.
# shellcheck disable=SC2016 # nothing in it is meant to expand
TABLE='network	p0	10.0.0.0	24	10.0.0.1	24	bridge-p0	bridge
network	p1	10.0.1.0	24	10.0.1.1	24	bridge-p1	bridge
network	p10	10.0.10.0	24	10.0.10.1	24	bridge-p10	bridge
network	p11	10.0.11.0	24	10.0.11.1	24	bridge-p11	bridge
network	p12	10.0.12.0	24	10.0.12.1	24	bridge-p12	bridge
network	p13	10.0.13.0	24	10.0.13.1	24	bridge-p13	bridge
network	p14	10.0.14.0	24	10.0.14.1	24	bridge-p14	bridge
network	p15	10.0.15.0	24	10.0.15.1	24	bridge-p15	bridge
network	p16	10.0.16.0	24	10.0.16.1	24	bridge-p16	bridge
network	p17	10.0.17.0	24	10.0.17.1	24	bridge-p17	bridge
network	p18	10.0.18.0	24	10.0.18.1	24	bridge-p18	bridge
network	p19	10.0.19.0	24	10.0.19.1	24	bridge-p19	bridge
network	p2	10.0.2.0	24	10.0.2.1	24	bridge-p2	bridge
network	p20	10.0.20.0	24	10.0.20.1	24	bridge-p20	bridge
network	p21	10.0.21.0	24	10.0.21.1	24	bridge-p21	bridge
network	p22	10.0.22.0	24	10.0.22.1	24	bridge-p22	bridge
network	p23	10.0.23.0	24	10.0.23.1	24	bridge-p23	bridge
network	p24	10.0.24.0	24	10.0.24.1	24	bridge-p24	bridge
network	p25	10.0.25.0	24	10.0.25.1	24	bridge-p25	bridge
network	p26	10.0.26.0	24	10.0.26.1	24	bridge-p26	bridge
network	p27	10.0.27.0	24	10.0.27.1	24	bridge-p27	bridge
network	p28	10.0.28.0	24	10.0.28.1	24	bridge-p28	bridge
network	p29	10.0.29.0	24	10.0.29.1	24	bridge-p29	bridge
network	p3	10.0.3.0	24	10.0.3.1	24	bridge-p3	bridge
network	p30	10.0.30.0	24	10.0.30.1	24	bridge-p30	bridge
network	p31	10.0.31.0	24	10.0.31.1	24	bridge-p31	bridge
network	p32	10.0.32.0	24	10.0.32.1	24	bridge-p32	bridge
network	p33	10.0.33.0	24	10.0.33.1	24	bridge-p33	bridge
network	p34	10.0.34.0	24	10.0.34.1	24	bridge-p34	bridge
network	p35	10.0.35.0	24	10.0.35.1	24	bridge-p35	bridge
network	p36	10.0.36.0	24	10.0.36.1	24	bridge-p36	bridge
network	p37	10.0.37.0	24	10.0.37.1	24	bridge-p37	bridge
network	p38	10.0.38.0	24	10.0.38.1	24	bridge-p38	bridge
network	p39	10.0.39.0	24	10.0.39.1	24	bridge-p39	bridge
network	p4	10.0.4.0	24	10.0.4.1	24	bridge-p4	bridge
network	p40	10.0.40.0	24	10.0.40.1	24	bridge-p40	bridge
network	p41	10.0.41.0	24	10.0.41.1	24	bridge-p41	bridge
network	p42	10.0.42.0	24	10.0.42.1	24	bridge-p42	bridge
network	p43	10.0.43.0	24	10.0.43.1	24	bridge-p43	bridge
network	p44	10.0.44.0	24	10.0.44.1	24	bridge-p44	bridge
network	p45	10.0.45.0	24	10.0.45.1	24	bridge-p45	bridge
network	p46	10.0.46.0	24	10.0.46.1	24	bridge-p46	bridge
network	p47	10.0.47.0	24	10.0.47.1	24	bridge-p47	bridge
network	p48	10.0.48.0	24	10.0.48.1	24	bridge-p48	bridge
network	p49	10.0.49.0	24	10.0.49.1	24	bridge-p49	bridge
network	p5	10.0.5.0	24	10.0.5.1	24	bridge-p5	bridge
network	p6	10.0.6.0	24	10.0.6.1	24	bridge-p6	bridge
network	p7	10.0.7.0	24	10.0.7.1	24	bridge-p7	bridge
network	p8	10.0.8.0	24	10.0.8.1	24	bridge-p8	bridge
network	p9	10.0.9.0	24	10.0.9.1	24	bridge-p9	bridge
localhost	bridge-localhost	127.0.1.1
volume	etcd-0	p0	10.0.0.2	host	veth-etcd-0	127.0.1.2
volume	etcd-16	p16	10.0.16.2	host	veth-etcd-16	127.0.1.18
volume	etcd-32	p32	10.0.32.2	host	veth-etcd-32	127.0.1.34
volume	etcd-48	p48	10.0.48.2	host	veth-etcd-48	127.0.1.50
probe	pass	icmp	etcd-0	10.0.0.2	bridge-p0	10.0.0.1	-
probe	pass	icmp	etcd-16	10.0.16.2	bridge-p16	10.0.16.1	-
probe	pass	icmp	etcd-32	10.0.32.2	bridge-p32	10.0.32.1	-
probe	pass	icmp	etcd-48	10.0.48.2	bridge-p48	10.0.48.1	-
probe	pass	tcp	etcd-0	10.0.0.2	etcd-16	10.0.16.2	2379
probe	pass	tcp	etcd-16	10.0.16.2	etcd-32	10.0.32.2	2379
probe	pass	tcp	etcd-32	10.0.32.2	etcd-48	10.0.48.2	2379
probe	pass	tcp	etcd-48	10.0.48.2	etcd-0	10.0.0.2	2379
probe	block	icmp	etcd-0	10.0.0.2	etcd-16	10.0.16.2	-
probe	block	tcp	etcd-0	10.0.0.2	etcd-16	10.0.16.2	9
probe	block	icmp	etcd-16	10.0.16.2	etcd-32	10.0.32.2	-
probe	block	tcp	etcd-16	10.0.16.2	etcd-32	10.0.32.2	9
probe	block	icmp	etcd-32	10.0.32.2	etcd-48	10.0.48.2	-
probe	block	tcp	etcd-32	10.0.32.2	etcd-48	10.0.48.2	9
probe	block	icmp	etcd-48	10.0.48.2	etcd-0	10.0.0.2	-
probe	block	tcp	etcd-48	10.0.48.2	etcd-0	10.0.0.2	9
end
'

# The metrics that status prints: type, unit and help of each.
FAMILIES='# TYPE nixvol_build_info gauge
# HELP nixvol_build_info Always 1: the version that judged, and the anchor that it judged.
# TYPE nixvol_wished_up gauge
# HELP nixvol_wished_up Whether the network is to be up: it was started, and not stopped.
# TYPE nixvol_healthy gauge
# HELP nixvol_healthy Whether the Mac is as wished.
# TYPE nixvol_pending_confirm gauge
# HELP nixvol_pending_confirm Whether a start waits for its confirmation, and is rolled back without one.
# TYPE nixvol_drift gauge
# HELP nixvol_drift How much of a part of the Mac is not as declared.
# TYPE nixvol_start_refusals gauge
# HELP nixvol_start_refusals How many reasons there are for which a start would be refused.
# TYPE nixvol_provider_up gauge
# HELP nixvol_provider_up Whether the bridge of a provider is as declared.
# TYPE nixvol_volume_up gauge
# HELP nixvol_volume_up Whether a volume has its address and port; one whose mount point is not mounted has none.
# TYPE nixvol_pipe_up gauge
# HELP nixvol_pipe_up Whether dummynet has a pipe as declared; absent where it is not known.
# TYPE nixvol_pipe_latency_seconds gauge
# UNIT nixvol_pipe_latency_seconds seconds
# HELP nixvol_pipe_latency_seconds The delay that a path is declared to have, one way.
# TYPE nixvol_pipe_loss_ratio gauge
# UNIT nixvol_pipe_loss_ratio ratio
# HELP nixvol_pipe_loss_ratio The share of packets that a path is declared to lose.
# TYPE nixvol_pipe_bandwidth_bytes_per_second gauge
# UNIT nixvol_pipe_bandwidth_bytes_per_second bytes_per_second
# HELP nixvol_pipe_bandwidth_bytes_per_second The rate that a path is declared to have; absent where it has no limit.
# TYPE nixvol_fault_in_force gauge
# HELP nixvol_fault_in_force Whether a partition or slow path that was made on demand is in force; to is any where all others are meant.
# TYPE nixvol_fault_deadline_timestamp_seconds gauge
# UNIT nixvol_fault_deadline_timestamp_seconds seconds
# HELP nixvol_fault_deadline_timestamp_seconds When a partition or slow path ends by itself; absent where it does not.
# TYPE nixvol_pf_states gauge
# HELP nixvol_pf_states How many states pf holds, of whatever anchor.
# TYPE nixvol_pf_states_limit gauge
# HELP nixvol_pf_states_limit How many it can hold; then new connections are dropped.
# TYPE nixvol_link_packets counter
# HELP nixvol_link_packets Packets that a link let through, as pf counts them: what the Mac sends to itself goes out and comes in.
# TYPE nixvol_rule_packets counter
# HELP nixvol_rule_packets Packets that rules beside those of links matched, as pf counts them: what the Mac sends to itself goes out and comes in.
# TYPE nixvol_link_bytes counter
# UNIT nixvol_link_bytes bytes
# HELP nixvol_link_bytes Bytes that a link let through, as pf counts them: what the Mac sends to itself goes out and comes in.
# TYPE nixvol_rule_bytes counter
# UNIT nixvol_rule_bytes bytes
# HELP nixvol_rule_bytes Bytes that rules beside those of links matched, as pf counts them: what the Mac sends to itself goes out and comes in.
'

# The engine: compares the observed state (standard input) with the bundle, and prints what differs. It changes nothing
# on the Mac. Where this run holds the lock, it writes the new names, ledger and rules into files of the state
# directory; the shell acts on them.
engine() {
    set -- section=stream -
    if test -n "$BUNDLE"; then set -- section=table keptfile=yes "$BUNDLE" keptfile= "$@"; fi
    awk '
# BLOCKS: private address space (RFC 1918, RFC 6598), in the order in which free networks are searched.
BEGIN { FS = "\t"; section = ""; ended = 0; BLOCKS = "10.0.0.0/8 172.16.0.0/12 100.64.0.0/10 192.168.0.0/16" }

# The first line of the input stream is a random mark that no command can predict. Where it occurs again, the next line
# names a section. A saved bundle, if any, is read before the stream, as section `table`.
section == "stream" { secret = $0; section = ""; next }
section != "table" || !keptfile {
    if ($0 "" == secret "") { marked = 1; next }
    if (marked) {
        marked = 0
        if ($1 == "failed") { failed = failed (failed == "" ? "" : ", ") $2; next }
        if ($1 == "end") { ended = 1; next }
        section = $1
        seen_of[section] = 1
        if (section == "pfctl-anchor-sr") seen[++ns] = "--"
        next
    }
}
# A name such as 1e1 is text: what is compared with it must not take it for a number.
section == "set" { P[$1] = ($1 ~ /^(one|other|tag)$/) ? $2 "" : $2; next }

# ---- owners and modes, as `ls -lden` prints them
section == "ls-lden" {
    if ($0 ~ /^ls: / && !is_absent($0)) failed = "ls"
    # An ACL entry of the file listed last.
    if (nowned && $0 ~ /^ *[0-9]+: /) { listof[owned[nowned]] = listof[owned[nowned]] $0 "\n"; next }
    if (!match($0, /^[^ ]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[A-Z][a-z]+ +[0-9]+ +[0-9:]+ /)) next
    split($0, w, " ")
    line = substr($0, RLENGTH + 1)
    if (w[1] ~ /^l/ && (i = index(line, " -> ")) > 0) line = substr(line, 1, i - 1)
    # The target of a symbolic link may contain a forged line, but only after the line of the link itself: the first
    # line for a path counts.
    if (line in modeof) next
    owned[++nowned] = line; modeof[line] = w[1]; ownerof[line] = w[3]
    next
}

# ---- the network table; the lines after its `end` are the pf rules
section == "table" && whole { kept[++nkept] = $0; next }
section == "table" && $1 == "network" {
    p = $2 ""; provider[++np] = p; network[p] = $3 "/" $4; gateway[p] = $5; gatelen[p] = $6; bridge[p] = $7; kind[p] = $8
    netlen[p] = $4; lo[p] = number($3); hi[p] = lo[p] + size($4) - 1
    next
}
section == "table" && $1 == "localhost" { group = $2; groupaddress = $3; next }
section == "table" && $1 == "allow" { allow[++na] = $2; allowlen[na] = $3; next }
section == "table" && $1 == "mount" { mountpoint[$2] = $3; next }
section == "table" && $1 == "volume" {
    v = $2 ""; volume[++nv] = v; of[v] = $3 ""; address[v] = $4; attachment[v] = $5; port[v] = $6; alias[v] = $7
    if (!(v in mountpoint)) mountpoint[v] = "-"
    next
}
section == "table" && $1 == "probe" { probe[++nprobes] = substr($0, 7); prober[nprobes] = $4 ""; probed[nprobes] = $6 ""; next }
section == "table" && $1 == "end" { whole = 1; next }

# ---- interfaces
section == "ifconfig" && /^[^ \t]/ {
    name = substr($0, 1, index($0, ":") - 1)
    iface[++ni] = name; exists[name] = 1
    running[name] = ($0 ~ /[<,]UP[,>]/ && $0 ~ /[<,]RUNNING[,>]/)
    next
}
section == "ifconfig" {
    n = split($0, w, " ")
    if (w[1] == "inet") {
        len = 32
        for (i = 3; i < n; i++) if (w[i] == "netmask") len = masklength(w[i + 1])
        has[name, w[2]] = len; holds[name] = holds[name] w[2] " "
        at[++nat] = w[2]; atlen[nat] = len; aton[nat] = name
    }
    if (w[1] == "peer:" && w[2] != "<none>") peer[name] = w[2]
    if (w[1] == "member:") { memberof[w[2]] = name; members[name] = members[name] w[2] " " }
    next
}

# ---- routes
section == "netstat-rn" {
    n = split($0, w, " ")
    if (n < 4 || (w[1] !~ /^[0-9]/ && w[1] != "default")) next
    if (!destination(w[1], w[3])) next
    rnet[++nr] = dest; rlen[nr] = destlen; rvia[nr] = w[2]; rflags[nr] = w[3]; rif[nr] = w[4]
    if (destlen == 0 && w[3] !~ /I/ && defaultvia == "") { defaultvia = w[2] " " w[4]; defaultif = w[4] }
    if (w[3] !~ /I/) routed[dest "/" destlen] = w[4]
    next
}

section == "sysctl" {
    if (++nsysctl == 1) forwarding = $0
    else if (nsysctl == 2) boot = $0
    next
}

# DEVICE INODE PATH, with each path as the shell passed it to `stat`.
section == "mount" {
    if ($0 ~ /^stat: / && !is_absent($0)) unanswered = printable(substr($0, 7))
    if (!match($0, /^-?[0-9]+ [0-9]+ /)) next
    split($0, w, " ")
    line = substr($0, RLENGTH + 1)
    deviceof[line] = w[1]; numberof[line] = w[2]
    next
}

section == "pfctl-references" {
    n = split($0, w, " ")
    if (n < 6 || w[1] !~ /^[0-9]+$/) next
    token = w[n - 3]
    listed[token] = 1; tokenpid[token] = w[1]; tokenname[token] = w[2]
    tokenlist = tokenlist (tokenlist == "" ? "" : ",") token
    next
}

section == "pfctl-sn" || section == "pfctl-sr" { mainline[++nmain] = $0; next }

section == "pfctl-interfaces" { if ($0 ~ /^lo0 .*\(skip\)/) skipped_lo0 = 1; next }

section == "pfctl-anchor-sn" || section == "pfctl-anchor-sr" { seen[++ns] = $0; next }

section == "pfctl-anchor-tables" {
    if ($0 ~ /^[^ \t]/) { table = $0; tables[table] = 1; next }
    split($0, w, " ")
    holding[table, w[1]] = 1; ntable[table]++
    next
}

function is_absent(line) { return line ~ /: (No such file or directory|Not a directory)$/ }

# ---- numbers and prefixes
function number(ip, o) { split(ip, o, "."); return ((o[1] * 256 + o[2]) * 256 + o[3]) * 256 + o[4] }
function size(len, s) { s = 1; while (len++ < 32) s *= 2; return s }
function dotted(n, a, b, c) {
    a = int(n / 16777216); n -= a * 16777216
    b = int(n / 65536); n -= b * 65536
    c = int(n / 256); n -= c * 256
    return a "." b "." c "." n
}
function dottedmask(len) { return dotted(4294967296 - size(len)) }
function masklength(hex, i, c, len) {
    len = 0
    if (length(hex) != 10) return 0
    for (i = 3; i <= 10; i++) {
        c = substr(hex, i, 1)
        if (c == "f") len += 4
        else if (c == "e") len += 3
        else if (c == "c") len += 2
        else if (c == "8") len += 1
    }
    return len
}
# Parses a destination of netstat into `dest` and `destlen`. netstat omits trailing zero octets, and the prefix length
# of host routes and classful networks.
function destination(text, flags, i, o, n) {
    if (text == "default") { dest = "0.0.0.0"; destlen = 0; return 1 }
    i = index(text, "/")
    destlen = -1
    if (i > 0) { destlen = substr(text, i + 1) + 0; text = substr(text, 1, i - 1) }
    if (text !~ /^[0-9.]+$/) return 0
    n = split(text, o, ".")
    while (n < 4) o[++n] = 0
    dest = (o[1] + 0) "." (o[2] + 0) "." (o[3] + 0) "." (o[4] + 0)
    if (destlen < 0) destlen = (flags ~ /H/) ? 32 : (o[1] < 128) ? 8 : (o[1] < 192) ? 16 : 24
    return 1
}

# ---- the tunnel to the other Macs
# The tunnel is the interface that has the address of this Mac in it. wg-quick makes it, with the routes of its AllowedIPs; the
# kernel removes them with the interface. wg-quick does not notice that `route` failed: a route that was taken while the
# tunnel came up (a provider was on this Mac until now), or that was removed since, is added here and recorded as ours.

section == "table" && $1 == "mesh" { meshaddress = $2; meshport = $3; next }
section == "table" && $1 == "peer" { peermac[++npeers] = $2; peeraddress[npeers] = $3; peerendpoint[npeers] = $4; peerkey[npeers] = $5; next }
section == "table" && $1 == "remote" {
    p = $3; remote[++nremotes] = p; network[p] = $4 "/" $5; netlen[p] = $5; macof[p] = $2
    lo[p] = number($4); hi[p] = lo[p] + size($5) - 1
    next
}

# What WireGuard says of the tunnel: KEY=VALUE, the lines of a peer behind its public key, `errno=0` at the end.
section == "wireguard" {
    i = index($0, "="); k = substr($0, 1, i - 1); line = substr($0, i + 1)
    if (k == "errno") answered = (line == "0")
    else if (k == "public_key") { wgpeer = line; wgpeers[line] = 1 }
    else if (k == "listen_port") wgport = line
    else if (k == "endpoint" && line ~ /^[][0-9A-Fa-f.:]+$/) wgendpoint[wgpeer] = line
    else if (k == "last_handshake_time_sec" && line ~ /^[0-9]+$/) wgtime[wgpeer] = line
    else if (k == "allowed_ip") wgallowed[wgpeer] = wgallowed[wgpeer] " " line " "
    next
}

function find_tunnel(i) {
    if (meshaddress != "") for (i = 1; i <= ni; i++) if (iface[i] != "lo0" && nameable(iface[i]) && ((iface[i], meshaddress) in has)) tunnel = iface[i]
}
# The routes of the networks of other Macs. One to an interface that is gone is replaced. One to another interface
# belongs to the user or to another program: it is reported, and what is meant for the other Mac is refused there.
function want_remotes(i, p, r) {
    if (tunnel == "") return
    for (i = 1; i <= nremotes; i++) {
        p = remote[i]; r = routed[network[p]]
        wanted["route", network[p], tunnel] = 1
        if (r == tunnel || (p in elsewhere)) continue
        if (r != "" && (r in exists) && !in_ledger("route", network[p], r)) {
            trouble("mesh " macof[p], "the network " network[p] " of " p " on " macof[p] " is routed to " printable(r) ", not into the tunnel " tunnel "; hint: sudo route -n delete -net " network[p])
            continue
        }
        if (in_ledger("route", network[p], tunnel)) lost("the route " network[p] " into the tunnel " tunnel)
        if (r != "" && !(r in exists)) { phase = 2; op("unroute", network[p], "-", "-", "remove the route " network[p] " to " printable(r) ", which is gone"); phase = 3 }
        op("remote", network[p], tunnel, "-", "route " network[p] " of " p " into the tunnel " tunnel)
    }
}
# A provider that was on another Mac until now may still be routed into the tunnel: its bridge could not get the route.
function free_route(p) {
    if (tunnel == "" || routed[network[p]] != tunnel || in_ledger("route", network[p], tunnel)) return
    phase = 2
    op("unroute", network[p], tunnel, "-", "remove the route " network[p] " into the tunnel " tunnel ": " p " is on this Mac")
    phase = 3
}
# Whether WireGuard has what the declaration says. It matters only while the tunnel is there and answers.
function judge_mesh(i, k, p, why) {
    if (tunnel == "" || !answered) return
    if (wgport != "" && wgport != meshport) why = "it listens on port " wgport ", not on " meshport
    for (i = 1; i <= npeers; i++) {
        if (!(peerkey[i] in wgpeers)) { why = why (why == "" ? "" : "; ") "it has no peer with the public key of " peermac[i]; continue }
        declaredkey[peerkey[i]] = 1
        if (wgallowed[peerkey[i]] != allowed_ips(i)) why = why (why == "" ? "" : "; ") "the AllowedIPs of " peermac[i] " are others"
    }
    for (k in wgpeers) if (!(k in declaredkey)) { strays++ }
    if (strays && why == "") why = "it has " strays " " (strays > 1 ? "peers" : "peer") " that the declaration does not have"
    if (why != "") caution("mesh", "the tunnel " tunnel " is not as declared: " why "; it keeps its configuration until it is restarted: sudo wg-quick down nixvol; sudo wg-quick up nixvol (without nix-darwin: wg-quick up " quote(P["base"] "/networking/wireguard/nixvol.conf") ")")
}
# The AllowedIPs of a peer, in any order: those of WireGuard if they are the declared ones, else nothing that it prints.
function allowed_ips(i, k, n, w, m) {
    n = 1
    if (!index(wgallowed[peerkey[i]], " " peeraddress[i] "/32 ")) return "-"
    for (k = 1; k <= nremotes; k++) if (macof[remote[k]] == peermac[i]) { n++; if (!index(wgallowed[peerkey[i]], " " network[remote[k]] " ")) return "-" }
    m = split(wgallowed[peerkey[i]], w, " ")
    return m == n ? wgallowed[peerkey[i]] : "-"
}

# ---- output: the other Macs
# WireGuard renews a session every two minutes, and drops one after three without a handshake.
function peer_state(i, k) {
    k = peerkey[i]
    if (P["target"] != "up" && tunnel == "") return "down"
    if (tunnel == "") return "waiting for the mesh"
    if (!answered) return "unknown"
    if (!(k in wgpeers)) return "not in the tunnel"
    if (wgtime[k] + 0 == 0) return "no handshake yet"
    return age_of(i) > 180 ? "away" : "connected"
}
function age_of(i, age) { age = now - wgtime[peerkey[i]]; return age < 0 ? 0 : age }
function has_handshake(i) { return tunnel != "" && answered && now && wgtime[peerkey[i]] > 0 }
function endpoint_of(i) { return (peerkey[i] in wgendpoint) && tunnel != "" ? wgendpoint[peerkey[i]] : peerendpoint[i] }
function peer_text(i, s) {
    s = peer_state(i)
    if (s == "unknown") return "unknown: WireGuard does not answer at /var/run/wireguard/" tunnel ".sock"
    if (s == "not in the tunnel") return "not in the tunnel: its public key is another"
    return s (has_handshake(i) ? ", last handshake " span(age_of(i)) " ago" : "")
}
function span(s) { return s < 120 ? s " s" : s < 7200 ? int(s / 60) " min" : s < 172800 ? int(s / 3600) " h" : int(s / 86400) " days" }
function peers_text(i) {
    if (meshaddress == "") return
    printf "\n%-24s %-42s %-15s %s\n", "MAC", "ENDPOINT", "ADDRESS", "STATE"
    for (i = 1; i <= npeers; i++) printf "%-24s %-42s %-15s %s\n", peermac[i], endpoint_of(i), peeraddress[i], peer_text(i)
}
function mesh_json(i, k, n, out) {
    if (meshaddress == "") return "null"
    for (i = 1; i <= npeers; i++) {
        out = out (i > 1 ? "," : "") "{\"mac\":" quoted(peermac[i]) ",\"endpoint\":" quoted(endpoint_of(i)) ",\"address\":" quoted(peeraddress[i]) ",\"networks\":["
        n = 0
        for (k = 1; k <= nremotes; k++) if (macof[remote[k]] == peermac[i]) out = out (n++ ? "," : "") quoted(network[remote[k]])
        out = out "],\"state\":" quoted(peer_state(i)) ",\"lastHandshakeSeconds\":" (has_handshake(i) ? age_of(i) : "null") "}"
    }
    return "{\"address\":" quoted(meshaddress) ",\"interface\":" or_null(tunnel) ",\"peers\":[" out "]}"
}

# ---- outside: egress interfaces, and whatever else on this Mac uses a network of ours

# Whether a name is safe in a pf rule: macOS interface names have this form (letters and a unit number, under 16 bytes).
function nameable(name) { return length(name) < 16 && name ~ /^[A-Za-z][A-Za-z0-9_]*[0-9]$/ }
function is_inner(name) { return ours(name) || lingers(name) || (name in vmnet) || (tunnel != "" && name == tunnel) }
# Inserts a name into a sorted, space-separated list, without duplicates.
function sorted_in(list, name, w, n, i, out) {
    n = split(list, w, " ")
    for (i = 1; i <= n && w[i] < name; i++) out = out w[i] " "
    if (i <= n && w[i] == name) return list
    out = out name " "
    for (; i <= n; i++) out = out w[i] " "
    return out
}
# Whether an interface leads to VMs or to clients of Internet Sharing, which use this Mac as their router.
function hosts_machines(name, w, n, i) {
    if (name ~ /^(vboxnet|vmnet|vnic|ap)[0-9]+$/) return 1
    if (name !~ /^bridge[0-9]+$/) return 0
    if (substr(name, 7) + 0 >= 100) return 1
    n = split(members[name], w, " ")
    for (i = 1; i <= n; i++) if (w[i] !~ /^(vmenet|feth|tap)[0-9]+$/) return 0
    return 1
}
# Whether a route takes packets off this Mac: through a gateway, or to a directly connected network. Cloned (W),
# interface-scoped (I), reject (R), blackhole (B), multicast, broadcast and link-local routes do not.
function leads_out(i, name) {
    name = rif[i]
    if (name ~ /^lo[0-9]+$/ || holds[name] == "" || rflags[i] !~ /U/ || rflags[i] ~ /[IWRBm]/ || is_inner(name)) return 0
    if (rnet[i] ~ /^(22[4-9]|23[0-9]|255)\./ || rnet[i] ~ /^169\.254\./ || (rlen[i] == 32 && (name, rnet[i]) in has)) return 0
    if (rflags[i] ~ /G/) return 1
    # A host route that nobody configured: the far end of a point-to-point link, not a network.
    if (rflags[i] ~ /H/ && rflags[i] !~ /S/) return 0
    return !hosts_machines(name)
}
function find_ways(i, list) {
    for (i = 1; i <= nr; i++) if (leads_out(i)) list = sorted_in(list, rif[i])
    ne = split(list, way, " ")
    outlets = list
    list = ""
    for (i = 1; i <= ni; i++) {
        if (iface[i] == "lo0" || is_inner(iface[i])) continue
        if (nameable(iface[i])) list = sorted_in(list, iface[i])
        else unnamed = unnamed (unnamed == "" ? "" : ", ") printable(iface[i])
    }
    outsiders = list
}
function printable(text) { gsub(/[^ -~]/, "?", text); return text }

# ---- collisions: networks of ours that another route or address overlaps
function overlaps(a, alen, p) { return number(a) <= hi[p] && number(a) + size(alen) - 1 >= lo[p] }
function allowed(net, len, i) {
    for (i = 1; i <= na; i++)
        if (len >= allowlen[i] && int(number(net) / size(allowlen[i])) == int(number(allow[i]) / size(allowlen[i]))) return 1
    return 0
}
function covers(net, len, other, otherlen) { return len <= otherlen && int(number(net) / size(len)) == int(number(other) / size(len)) }
# Whether a route is no collision: cloned, in the ledger, by a bridge of ours or a vmnet bridge of a provider, or to an
# address of these bridges.
function known_route(i) {
    if ((rif[i] in ownbridge) || (rif[i] in vmnet) || (tunnel != "" && rif[i] == tunnel) || rflags[i] ~ /W/ || rnet[i] in ownaddress) return 1
    if (in_ledger("route", rnet[i] "/" rlen[i], rif[i])) return 1
    return rif[i] == "lo0" && rlen[i] == 32 && in_ledger("address", "lo0", rnet[i])
}
function known_address(i) { return (aton[i] in ownbridge) || (aton[i] in vmnet) || at[i] in ownaddress || (aton[i] == "lo0" && atlen[i] == 32 && in_ledger("address", "lo0", at[i])) }
# Whether a route is a default route or a part of one, as VPNs install (0/1 and 128/1): wider than the private block
# that contains the network of p, or than /8 elsewhere.
function everywhere(i, p, k, blocks, w) {
    if (rlen[i] <= 1) return number(rnet[i]) % 2147483648 == 0
    for (k = split(BLOCKS, blocks, " "); k > 0; k--) {
        split(blocks[k], w, "/")
        if (covers(w[1], w[2], dotted(lo[p]), netlen[p])) return rlen[i] < w[2]
    }
    return rlen[i] < 8
}
# Whether a route is one of many through the same gateway or tunnel that together cover at least half of the address
# space, and none of which contains it: a VPN that routes everything except some addresses.
function is_piece(i, k, sum) {
    sum = size(rlen[i])
    for (k = 1; k <= nr; k++) {
        if (k == i || rif[k] != rif[i] || rvia[k] != rvia[i] || rlen[k] == 0 || rflags[k] ~ /[IW]/) continue
        if (rlen[k] < rlen[i] && covers(rnet[k], rlen[k], rnet[i], rlen[i])) return 0
        sum += size(rlen[k])
    }
    return sum >= 2147483648
}
# Whether a route goes around a VPN: through the gateway of the default route of the LAN, while a wide route by another
# interface takes everything else. It adds nothing to that default route.
function bypasses(i, k, same, other) {
    if (rflags[i] !~ /G/) return 0
    for (k = 1; k <= nr; k++) {
        if (rlen[k] == 0 && rvia[k] == rvia[i] && rif[k] == rif[i]) same = 1
        if (rlen[k] < 8 && rif[k] != rif[i] && rflags[k] ~ /U/ && rflags[k] !~ /I/) other = 1
    }
    return same && other
}
function collide(p, what, net, len, name) {
    if ((p, net, len) in told || allowed(net, len)) return
    told[p, net, len] = 1; elsewhere[p] = 1
    clash[++nclash] = p
    clashing[nclash] = "the network " network[p] " of " p " overlaps the " what " " net "/" len " on " printable(name)
}
# Whether the bridge of a provider (ours or that of vmnet) has its gateway address and the route to its network now.
function in_force(p, b) {
    if (p in macof) return anchored && theirs == "" && named_in_rules(network[p])
    b = (kind[p] == "vmnet") ? vmbridge[p] : kernel[bridge[p]]
    if (!(p in present) || !((b, gateway[p]) in has)) return 0
    return gatelen[p] == netlen[p] ? has[b, gateway[p]] == gatelen[p] : in_ledger("route", network[p], b)
}
# Whether the rules that were loaded last name a network.
function named_in_rules(net, line, found) {
    while ((getline line < (P["state"] "/rules.conf")) > 0) if (index(line, net)) found = 1
    close(P["state"] "/rules.conf")
    return found
}
function collisions(i, k, p) {
    for (i = 1; i <= nr; i++) {
        if (rlen[i] == 0 || known_route(i)) continue
        for (k = 1; k <= np + nremotes; k++) {
            p = (k <= np) ? provider[k] : remote[k - np]
            # A tunnel that is gone takes its routes with it.
            if (k > np && !(rif[i] in exists)) continue
            if (overlaps(rnet[i], rlen[i], p) && !everywhere(i, p) && !is_piece(i) && !bypasses(i)) collide(p, "route", rnet[i], rlen[i], rif[i])
        }
    }
    for (i = 1; i <= nat; i++) {
        if (known_address(i)) continue
        for (k = 1; k <= np + nremotes; k++) { p = (k <= np) ? provider[k] : remote[k - np]; if (overlaps(at[i], 32, p)) collide(p, "address", at[i], atlen[i], aton[i]) }
    }
    propose()
    for (i = 1; i <= nclash; i++) {
        p = clash[i]
        k = clashing[i] ((p in proposed) ? ": " dotted(proposed[p]) "/" netlen[p] " is free" : "") "; or name it in allowOverlap"
        if (P["ask"] == "reconcile") { if ((p in present) || (p in macof)) trouble("overlap", k); else refuse(k) }
        else if (asks_to_start()) { if (in_force(p)) caution("overlap", k); else refuse(k) }
        else trouble("overlap", k)
    }
}

# ---- proposals: a free network for every provider whose network collides
function free_network(len, i, n, blocks, w) {
    n = split(BLOCKS, blocks, " ")
    for (i = 1; i <= n; i++) {
        split(blocks[i], w, "/")
        if (w[2] <= len && free_within(number(w[1]), size(w[2]), size(len))) return found
    }
    return -1
}
function free_within(from, room, step, n, moved, i, p) {
    for (n = from; n + step <= from + room; n = moved) {
        moved = 0
        for (i = 1; i <= np; i++) {
            p = provider[i]
            if (!(p in elsewhere)) moved = past(lo[p], hi[p], n, step, moved)
            else if (p in proposed) moved = past(proposed[p], proposed[p] + size(netlen[p]) - 1, n, step, moved)
        }
        for (i = 1; i <= nremotes; i++) moved = past(lo[remote[i]], hi[remote[i]], n, step, moved)
        for (i = 1; i <= nr; i++) if (rlen[i] > 7) moved = past(number(rnet[i]), number(rnet[i]) + size(rlen[i]) - 1, n, step, moved)
        for (i = 1; i <= nat; i++) moved = past(number(at[i]), number(at[i]), n, step, moved)
        if (!moved) { found = n; return 1 }
    }
    return 0
}
# If first..last overlaps the candidate at n, returns the first aligned start above `last` (or `moved`, if that is
# higher); else `moved`.
function past(first, last, n, step, moved, behind) {
    if (n > last || n + step - 1 < first) return moved
    behind = (int(last / step) + 1) * step
    return behind > moved ? behind : moved
}
# Advice: the lines of a declaration that moves these providers, with their gateways and volumes, to free networks.
function propose(i, p, v) {
    for (i = 1; i <= np; i++) if (provider[i] in elsewhere) p = 1
    if (p) advice[++nadvice] = "# these networks are free on this Mac; in the declaration:"
    for (i = 1; i <= np; i++) {
        p = provider[i]
        if (!(p in elsewhere)) continue
        if (free_network(netlen[p]) < 0) { advice[++nadvice] = "# no network of that size is free for " p; continue }
        proposed[p] = found
        advice[++nadvice] = "services.nixvol-net.providers." attribute(p) " = { network = \"" dotted(found) "/" netlen[p] "\"; gateway = \"" moved_to(gateway[p], p) "/" gatelen[p] "\"; };"
    }
    for (i = 1; i <= nv; i++) {
        v = volume[i]
        if (of[v] in proposed) advice[++nadvice] = "services.nixvol-net.volumes." attribute(v) ".address = \"" moved_to(address[v], of[v]) "\";"
    }
}
function moved_to(ip, p) { return dotted(proposed[p] + number(ip) - lo[p]) }
# A name in an attribute path of Nix: quoted unless it begins with a letter.
function attribute(name) { return name ~ /^[a-z]/ ? name : "\"" name "\"" }

# ---- rules, with the interface names of this Mac put in
# A line with `$egress` is loaded once for every egress interface, one with `$outside` once for every interface that is
# neither lo0 nor a bridge or port of the network, one with `$bridge_NAME` with the kernel name of the bridge of that
# provider. pf allows no list in their place. A line whose macro has no interface is left out; only `$mesh`, the tunnel to
# the other Macs, is then a name that no interface has, so that rules for every interface but the tunnel hold. The first
# loaded line records the names that were put in, and whether the last load found that pfctl accepts `extfilter`.
function read_rules(file, line, i) {
    names_of["egress"] = outlets
    names_of["outside"] = outsiders
    names_of["mesh"] = (tunnel != "") ? tunnel : "mesh"
    for (i = 1; i <= np; i++) names_of[macro_of(provider[i])] = kernel_of(provider[i])
    if ((getline was < (P["state"] "/rules.conf")) <= 0) was = ""
    close(P["state"] "/rules.conf")
    natform = (knew && was ~ / nat=plain$/) ? "plain" : "apd"
    nrules = 1
    for (i = 1; i <= nkept; i++) read_rule(kept[i])
    if (nrules == 1) refuse("there are no rules in " file ": the bundle is not complete, install it again")
    line = ""
    for (i = 1; i <= nused; i++) line = line " " used[i] "=" commas(names_of[used[i]])
    rule[1] = "# put in:" line (translates ? " nat=" natform : "")
    if (unnamed != "" && ("outside" in uses)) trouble("pf", "forged packets may come in by " unnamed ": no rule can name such an interface; hint: ifconfig shows what it belongs to")
}
function macro_of(p) { gsub(/-/, "_", p); return "bridge_" p }
function read_rule(line) {
    if (line ~ /^[ \t]*#/) rule[++nrules] = line
    # These definitions let the file be read where only $egress is defined; here every macro is replaced.
    else if (line !~ /^[ \t]*(outside|mesh|bridge_[a-z0-9_]*)[ \t]*=/) put_in(line)
}
function put_in(line, rest, name, n, w, i) {
    for (rest = line; match(rest, /\$[A-Za-z_][A-Za-z0-9_]*/); rest = substr(rest, RSTART + RLENGTH)) {
        name = substr(rest, RSTART + 1, RLENGTH - 1)
        if (!(name in names_of)) continue
        if (!(name in uses)) { uses[name] = 1; used[++nused] = name }
        n = split(names_of[name], w, " ")
        for (i = 1; i <= n; i++) put_in(with(line, name, w[i]))
        return
    }
    if (line ~ /^nat on [^ ]+ .*-> \([^ ]+:0\)/) {
        sub(/ extfilter [a-z]+/, "", line)
        translates = 1
        if (natform != "plain") line = line " extfilter apd"
    }
    rule[++nrules] = line
}
function with(line, name, value, out, word) {
    while (match(line, /\$[A-Za-z_][A-Za-z0-9_]*/)) {
        word = substr(line, RSTART, RLENGTH)
        out = out substr(line, 1, RSTART - 1) (word == "$" name ? value : word)
        line = substr(line, RSTART + RLENGTH)
    }
    return out line
}
# The interface names that the first line of loaded rules records for a macro, separated by spaces.
function put_in_then(line, name, w, n, i, out) {
    n = split(line, w, " ")
    for (i = 4; i <= n; i++) if (index(w[i], name "=") == 1) { out = substr(w[i], length(name) + 2); gsub(/,/, " ", out); return out }
    return ""
}
function commas(list) { gsub(/ +$/, "", list); gsub(/ /, ",", list); return list }
function listed_names(list) { gsub(/ +$/, "", list); gsub(/ /, ", ", list); return list == "" ? "nothing" : list }
function causes_of_names(then, w, n, i, gone, new_) {
    if (was == rule[1] || was !~ /^# put in:/) return
    # A first line without the macro does not record which interfaces there were.
    if (("egress" in uses) && was ~ / egress=/) {
        then = put_in_then(was, "egress")
        if (then != put_in_then(rule[1], "egress")) cause("the egress interfaces changed from " listed_names(then) " to " listed_names(outlets) "; the default route is " (defaultvia == "" ? "gone" : "by " defaultvia))
    }
    if (("mesh" in uses) && was ~ / mesh=/ && put_in_then(was, "mesh") != names_of["mesh"]) cause("the tunnel to the other Macs is " (tunnel == "" ? "gone" : tunnel))
    if (!("outside" in uses) || was !~ / outside=/) return
    then = " " put_in_then(was, "outside") " "
    n = split(then, w, " ")
    for (i = 1; i <= n; i++) if (!index(" " outsiders, " " w[i] " ")) gone = gone w[i] " "
    n = split(outsiders, w, " ")
    for (i = 1; i <= n; i++) if (!index(then, " " w[i] " ")) new_ = new_ w[i] " "
    if (gone new_ != "") cause("interfaces of other programs changed: " listed_names(new_) " added, " listed_names(gone) " removed")
}

# ---- rules of other programs that pf evaluates before ours
# The main ruleset calls our anchor. Rules before that call are evaluated first, and so are anchors with the same parent
# whose names sort before ours. Rules after ours decide only what ours leave undecided, and are ignored.
section == "pfctl-others" {
    if (index($0, "anchor\t") == 1) { other = substr($0, 8); next }
    if ($0 == "unread\t" other) { unread[++nunread] = other; next }
    otherline[++nothers] = $0; otherof[nothers] = other
    next
}

function list_of(line, w) {
    split(line, w, " ")
    if (w[1] == "no") w[1] = w[2]
    sub(/-anchor$/, "", w[1])
    return (w[1] ~ /^(nat|rdr|binat|scrub|dummynet)$/) ? w[1] : (w[1] ~ /^(pass|block|anchor|antispoof)$/) ? "filter" : ""
}
# A rule of another program, quoted for a message: at most 120 characters, none of them a control character.
function shown(line) { line = printable(line); return "`" (length(line) > 120 ? substr(line, 1, 117) "..." : line) "`" }
# Whether an anchor is called for all IPv4 traffic: what follows its name restricts nothing.
function is_whole(rest, w, n, i) {
    gsub(/label "[^"]*"/, "", rest)
    n = split(rest, w, " ")
    for (i = 1; i <= n; i++) if (w[i] !~ /^(all|inet|fragment|reassemble|no-df|random-id|[{}])$/) return 0
    return 1
}
function read_main(i, line, kind, name, rest) {
    parent = P["anchor"]; sub(/[^\/]*$/, "*", parent)
    for (i = 1; i <= nmain; i++) {
        line = mainline[i]; kind = list_of(line)
        if (kind == "") continue
        if (!match(line, /^([a-z]+-)?anchor "[^"]*"/)) { if (!(kind in calls)) first[++nfirst] = line; continue }
        name = substr(line, 1, RLENGTH); rest = substr(line, RLENGTH + 1)
        sub(/^[^"]*"/, "", name); sub(/"$/, "", name)
        if (name != parent && name != P["anchor"]) {
            if (kind in calls) continue
            before[kind, name] = 1; sub(/\*$/, "", name); before[kind, name] = 1
            if (kind == "filter" || kind == "rdr") earlier[++nearlier] = name (kind == "rdr" ? " for rdr" : "")
        }
        else if (is_whole(rest)) calls[kind] = 1
        else if (!(kind in calls)) limits[kind] = line
    }
}
function comes_first(name, kind, top) {
    top = parent; sub(/\*$/, "", top)
    if (index(name, top) == 1) return (name "") < (P["anchor"] "")
    for (top = name; top != ""; ) {
        if ((kind, top) in before || (kind, top "/") in before) return 1
        if (!sub(/\/[^\/]*$/, "", top)) return 0
    }
    return 0
}
# Whether the source or destination of a rule may lie in the network of a provider; tables and names may.
function meets(word, w, p, i) {
    if (word ~ /:/ || word ~ /^\(/) return 0
    if (word !~ /^[0-9.]+(\/[0-9]+)?$/) return 1
    split(word, w, "/")
    for (i = 1; i <= np; i++) if (overlaps(w[1], w[2] == "" ? 32 : w[2], provider[i])) return 1
    return 0
}
function judge_rule(line, whose, plain, w, n, i, from, to, name) {
    plain = line; gsub(/"[^"]*"/, "\"\"", plain)
    if (plain ~ / inet6( |$)/) return
    n = split(plain, w, " ")
    from = to = "any"; name = ""
    for (i = 1; i < n; i++) {
        if (w[i] == "on") name = w[i + 1] == "!" ? "! " w[i + 2] : w[i + 1]
        if (w[i] == "from") from = w[i + 1]
        if (w[i] == "to") to = w[i + 1]
        if (w[i] == "->") break
    }
    if (!meets(from) && !meets(to)) return
    if (w[1] == "rdr" && (name == "lo0" || name == "" || name ~ /^!/) && meets(to))
        caution("others", shown(line) " of " whose " comes before our rules: what it matches never reaches a volume")
    if (list_of(line) != "filter" || plain !~ / quick( |$)/) return
    if (name == "" || name == "lo0" || (name ~ /^! / && name != "! lo0") || (name in ownbridge) || (name in vmnet) || name == tunnel)
        trouble("others", shown(line) " of " whose " decides before our rules, and with `quick`, so what matches it never reaches them; stop the program that loaded it, or load the rules of Apple again with: sudo pfctl -f /etc/pf.conf")
    else notice(shown(line) " of " whose " decides on " name " before our rules")
}
# XNU forwards packets of `route-to` without an argument that dummynet needs, and dereferences a null pointer: a panic.
function judge_route(line, whose, plain, text) {
    plain = line; gsub(/"[^"]*"/, "\"\"", plain)
    if (plain !~ / (route-to|reply-to|dup-to|fastroute)( |$)/) return
    text = shown(line) " of " whose " and the conditions of our links cannot be in force together: the kernel can panic (route-to with dummynet); stop the program that loaded it, or take the conditions out of the declaration"
    if (asks_to_start() || P["ask"] == "faults") refuse(text)
    else trouble("others", text)
}
function judge_others(i, kind, text) {
    for (i = 1; i <= nfirst; i++) judge_rule(first[i], "the main ruleset")
    for (i = 1; i <= nmain && (npipes || fpiped); i++) judge_route(mainline[i], "the main ruleset")
    for (i = 1; i <= nothers; i++) {
        # An anchor of an earlier bundle is about to be emptied, and the anchor of faults is ours.
        if (in_ledger("anchor", otherof[i], "") || (faulty && otherof[i] == P["faults"])) continue
        kind = list_of(otherline[i])
        if (kind != "" && otherline[i] !~ /^([a-z]+-)?anchor "/ && comes_first(otherof[i], kind)) judge_rule(otherline[i], otherof[i])
        if (npipes || fpiped) judge_route(otherline[i], otherof[i])
    }
    for (i = 1; i <= nunread; i++) if (unread[i] != unread[i - 1]) notice("the anchor " printable(unread[i]) " cannot be read: whether it decides before ours is not known")
    for (i = 1; i <= nearlier; i++) text = text (i > 1 ? ", " : "") printable(earlier[i])
    if (text != "") notice("the main ruleset calls other anchors before ours: " text)
    for (kind in limits)
        if (!(kind in calls)) { calls[kind] = 1; trouble("pf", "the main ruleset of pf calls com.apple/* only for a part of all traffic, " shown(limits[kind]) ": for the rest, no rule of ours is in force; restart the program that changed it or the Mac, or load the rules of Apple again with: sudo pfctl -f /etc/pf.conf") }
}
function caution(about, text) { warning[++nwarnings] = text; warns_of[nwarnings] = about }
function notice(text) { remark[++nremarks] = text }

# ---- what the network depends on: launchd runs reconcile, and the state table of pf has a limit
section == "launchctl-print" {
    if ($0 == "not loaded" || $0 == "disabled" || $0 == "differs") job[$0] = 1
    else if ((i = index($0, " = ")) > 0) job[substr($0, 1, i - 1)] = substr($0, i + 3)
    next
}
section == "pfctl-info" { if ($0 ~ /^ *current entries +[0-9]+/) { split($0, w, " "); entries = w[3] }; next }
section == "pfctl-memory" { if ($0 ~ /^states +hard limit +[0-9]+/) { split($0, w, " "); limit = w[4] }; next }

function judge_health(program, place, load) {
    program = P["base"] "/networking/manage-macos-networking.sh"
    place = "/Library/LaunchDaemons/" P["job"] ".plist"
    load = "sudo launchctl bootstrap system " place
    if ("launchctl-print" in seen_of) {
        if ("disabled" in job) caution("launchd", "our launchd job is disabled (in Login Items?), so nothing starts the network after a restart; allow it in System Settings, General, Login Items & Extensions, or: sudo launchctl enable system/" P["job"] " && " load)
        else if ("not loaded" in job) caution("launchd", "our launchd job is not loaded, so nothing repairs the network or starts it after a restart; switch again, or: " load)
        if (!("not loaded" in job) && job["program"] != program) caution("launchd", "launchd runs " printable(job["program"]) " for our job, not " program "; switch again, or: sudo launchctl bootout system/" P["job"] " && " load)
        else if ("differs" in job) caution("launchd", "launchd loaded " printable(job["path"]) " for our job, which differs from the installed plist; switch again, or: sudo cp " quote(P["base"] "/networking/launchd/" P["job"] ".plist") " " place " && sudo launchctl bootout system/" P["job"] " && " load)
    }
    # A full state table admits no new connection.
    if (limit > 0 && entries > limit * 0.8) caution("pf", "pf holds " entries " of " limit " states (" int(entries * 100 / limit) " %); at the limit no new connection succeeds, on the whole Mac; list them by: sudo pfctl -s states | awk \"{ print \\$3 }\" | sort | uniq -c | sort -n")
}
function states_text() { return entries == "" ? "unknown" : entries " of " (limit == "" ? "an unknown limit" : limit) }
function states_json() { return entries == "" ? "null" : "{\"entries\":" entries + 0 ",\"limit\":" (limit == "" ? "null" : limit + 0) "}" }
function job_text() { return ("disabled" in job) ? "disabled" : ("not loaded" in job) ? "not loaded" : (job["state"] == "" ? "unknown" : job["state"]) (job["last exit code"] == "" ? "" : ", last exit code " job["last exit code"]) }

# Refuses paths that cannot be ours: below a directory that macOS empties, or a log that another program wrote.
function judge_paths(line, i, w, known) {
    for (i = split("/private/tmp /private/var/tmp /private/var/folders", w, " "); i > 0; i--) {
        if (emptied(P["state"], w[i])) danger(P["state"] " lies below " w[i] ", which macOS empties; hint: declare another stateDir")
        if (emptied(P["base"], w[i])) danger(P["base"] " lies below " w[i] ", which macOS empties; hint: declare another base")
    }
    if (!(P["log"] in modeof)) return
    if (modeof[P["log"]] !~ /^[-l]/) danger(P["log"] " is not a regular file; hint: declare another logFile")
    known = (P["state"] "/wish") in modeof || (P["state"] "/names") in modeof || (P["state"] "/applied") in modeof
    if (modeof[P["log"]] ~ /^-/ && !known && (getline line < P["log"]) > 0) {
        if (line !~ /^[0-9-]+T[0-9:]+Z [a-z]+: / && line !~ /^nixvol: / && line !~ /newsyslog\[[0-9]+\]: logfile turned over/ && line != "" && !index(line, P["base"]))
            danger(P["log"] " existed before and does not belong to this program; hint: declare another logFile, or move that one elsewhere")
        close(P["log"])
    }
}
# Whether a path is below a directory of /private, under that name or the shorter one (/tmp and /var are links).
function emptied(path, place) { return below(path, place) || ((place in modeof) && below(path, substr(place, 9))) }

# ---- names, ledger and rules, read from the state directory
function read_names(file, line, w) {
    while ((getline line < file) > 0) {
        split(line, w, "\t")
        if (w[1] == "" || w[2] == "") continue
        kernel[w[1]] = w[2]; nameorder[++nn] = w[1]
        taken[w[2]] = w[1]
        if (w[3] != "-" && w[3] != "") { far[w[1]] = w[3]; taken[w[3]] = w[1] }
    }
    close(file)
}
function read_ledger(file, line, n, w, k, head, form, current) {
    head = "nixvol-net ledger\t1\t."
    while ((getline line < file) > 0) {
        n = split(line, w, "\t")
        if (line == "") continue
        # A header that an interrupted write cut short is valid only if nothing follows.
        if (form != head && (form != "" || index(head, line) != 1)) { refuse("the ledger " file " has an unknown format: run cleanup with the program that wrote it"); return }
        if (form == "") { form = line; continue }
        # A line without the final dot was cut short, and is ignored: what it announces was never begun.
        if (w[n] != ".") continue
        if (w[1] == "base" && w[2] != P["base"]) { refuse("the ledger " file " belongs to " w[2] ", not to " P["base"] ": run cleanup there first"); return }
        if (w[1] == "boot") { current = (w[2] == boot); if (!current) restarted = 1 }
        # Hosts files outlive a restart; nothing else in the ledger does.
        if (w[2] == "hosts-file" || w[2] == "hosts") {
            if (w[1] == "have") { if (w[2] == "hosts") named[w[3]] = 1; else madehosts[w[3]] = 1 }
            else { delete named[w[3]]; delete madehosts[w[3]] }
            continue
        }
        if (!current) continue
        if (w[1] == "want" || w[1] == "have" || w[1] == "gone") {
            k = w[2] SUBSEP w[3] SUBSEP (n > 4 ? w[4] : "")
            if (w[2] == "token") { if (ourtoken == w[3]) ourtoken = "" }
            else if (w[2] == "forwarding") forwardingwas = ""
            else {
                if (!(k in L)) { order[++nl] = k; what_[nl] = w[2]; name_[nl] = w[3]; on_[nl] = n > 4 ? w[4] : "" }
                L[k] = w[1]
            }
        }
        finished = (w[1] == "done")
        if (w[1] == "forwarding") { forwardingwas = w[2]; bridgeswere = "," w[3] "," }
        if (w[1] == "token-before") { tokensbefore = "," w[2] ","; pending = 1; pendingpid = "" }
        if (w[1] == "token-pid") pendingpid = w[2]
        if (w[1] == "token") { ourtoken = w[2]; pending = 0 }
    }
    close(file)
    sameboot = current
}
# Drops our pf token if pf no longer lists it. Adopts one that pf gave to a run that died before it could record it: the
# token of the recorded process, or else the only new one of a pfctl.
function adopt_token(t, found, count) {
    if (ourtoken != "" && !(ourtoken in listed)) { ourtoken = ""; cause("the token of pf is gone: another program turned pf off (pfctl -d) or released it; pf is in use by " pf_users()) }
    if (!pending || ourtoken != "") return
    for (t in listed) {
        if (index(tokensbefore, "," t ",") || tokenname[t] != "pfctl") continue
        if (tokenpid[t] == pendingpid) { ourtoken = t; return }
        count++; found = t
    }
    if (count == 1) ourtoken = found
}
function in_ledger(what, a, b) { return ((what, a, b) in L) && L[what, a, b] != "gone" }
# An interface is ours if the ledger records it as made, or as about to be made while it is not in use: no address, and
# neither a peer nor a member that is not in the ledger.
function ours(name, w, n, i) {
    if (!(name in exists) || !in_ledger("if", name, "")) return 0
    if (L["if", name, ""] == "have") return 1
    if (holds[name] != "" || (name in peer && !in_ledger("if", peer[name], ""))) return 0
    n = split(members[name], w, " ")
    for (i = 1; i <= n; i++) if (!in_ledger("if", w[i], "")) return 0
    return 1
}
function free_unit(prefix, unit) {
    for (unit = nextunit[prefix]; unit <= 32767; unit++)
        if (!((prefix unit) in exists) && !((prefix unit) in taken)) break
    nextunit[prefix] = unit + 1
    if (unit > 32767 && !(prefix in exhausted)) {
        exhausted[prefix] = 1
        refuse("macOS has too few unit numbers of " prefix " left for this network: they end at 32767, ours begin at " (prefix == "feth" ? "20000 and each volume with a port takes two, so 6384 such volumes are the maximum" : "2000") "; declare fewer")
    }
    return prefix unit
}
# Whether we destroyed an interface that macOS still lists, as it may do for a moment.
function lingers(name) { return (name in exists) && (("if", name, "") in L) && L["if", name, ""] == "gone" && holds[name] == "" && !running[name] }
# Assigns a kernel name to a logical name. It is permanent, unless another program has taken it.
function name_for(logical, prefix, paired) {
    if (logical in kernel && foreign(kernel[logical])) forget_name(logical)
    else if (logical in far && foreign(far[logical])) forget_name(logical)
    if (logical in kernel) return
    kernel[logical] = free_unit(prefix); taken[kernel[logical]] = logical
    nameorder[++nn] = logical
    if (paired) { far[logical] = free_unit(prefix); taken[far[logical]] = logical }
}
function foreign(name) { return (name in exists) && !ours(name) && !lingers(name) }
function forget_name(logical, i) {
    for (i = 1; i <= nn; i++) if (nameorder[i] == logical) nameorder[i] = ""
    delete kernel[logical]; delete far[logical]
}
# Whether pf holds the tables as the rules define them; `altered` names one that differs. The rules give each network in
# the form that pf prints, except that pf omits /32.
function tables_stand(t, n, w, i, k) {
    read_tables(rule, nrules, newtable)
    for (t in newtable) {
        n = split(newtable[t], w, " ")
        altered = substr(t, 2, length(t) - 2)
        if (n != ntable[altered] + 0) return 0
        for (i = 1; i <= n; i++) { k = w[i]; sub(/\/32$/, "", k); if (!((altered, k) in holding)) return 0 }
    }
    altered = ""
    return 1
}
# Reads what pf printed of our anchor after our last load, and whether a load was begun but never recorded as complete.
# pf replaces rules only as a whole. So a part of ours is still ours, while one rule that is not ours (`theirs`) means
# that another program loaded its own.
function read_loaded(line, i) {
    if ((getline line < (P["state"] "/rules.seen")) > 0) knew = (line == boot)
    while ((getline line < (P["state"] "/rules.seen")) > 0) { loaded[++nloaded] = line; if (knew) was_loaded[line] = 1 }
    close(P["state"] "/rules.seen")
    loading = ((getline line < (P["state"] "/rules.loading")) > 0)
    close(P["state"] "/rules.loading")
    anchored = in_ledger("anchor", P["anchor"], "")
    for (i = 1; i <= ns && theirs == "" && !(loading && anchored); i++) if (seen[i] != "--" && !(seen[i] in was_loaded)) theirs = seen[i]
}
# Whether pf still holds exactly what we loaded last, and whether that is what should be loaded now.
function rules_stand(line, i, same) {
    same = anchored && knew && !loading
    for (i = 1; (getline line < (P["state"] "/rules.conf")) > 0; i++) if (line != rule[i]) same = 0
    if (i != nrules + 1) same = 0
    close(P["state"] "/rules.conf")
    altered_rules = (nloaded != ns)
    for (i = 1; i <= ns; i++) if (loaded[i] != seen[i]) altered_rules = 1
    return same && !altered_rules
}

# ---- owners and modes
# Root runs and writes these files, so no other user may be able to change them. If the shell found that the caller owns
# this program (`mine`), that owner is accepted as well as root.
function judge_owners(i, path, mode, root, own) {
    root = (P["mine"] == "yes" && P["self"] in ownerof) ? ownerof[P["self"]] : 0
    for (i = 1; i <= nowned; i++) {
        path = owned[i]; mode = modeof[path]
        own = below(path, P["base"] "/networking") || below(path, P["state"]) || path == P["self"] || path == P["log"]
        if (path == P["hosts"]) {
            if (mode ~ /^l/) danger(path " is a symbolic link, and root does not write through one; hint: declare its target as hostsFile")
            continue
        }
        if (ownerof[path] != 0 && ownerof[path] != root) danger(path " belongs to user " ownerof[path] ", not to root; hint: sudo chown root:wheel " quote(path))
        if (mode ~ /^l/) {
            if (own) danger(path " is a symbolic link, which is not allowed here; hint: sudo rm " quote(path))
            continue
        }
        if (own && (path == P["state"] || path == P["base"] "/networking") && mode !~ /^d/) danger(path " is not a directory; hint: move it elsewhere")
        # In a directory with the sticky bit, other users cannot remove or rename the files of root.
        if ((substr(mode, 6, 1) == "w" || substr(mode, 9, 1) == "w") && (own || substr(mode, 10, 1) !~ /[tT]/)) danger(path " can be changed by users other than root (" mode "); hint: sudo chmod go-w " quote(path))
        # `ls` marks an ACL by a plus, but a file that also has extended attributes by an at sign: the entries decide.
        if (own ? (mode ~ /\+$/ || path in listof) : (listof[path] ~ / allow [^\n]*(write|append|add_|delete|chown)/)) danger(path " has an access control list, which may let other users in; hint: sudo chmod -N " quote(path))
    }
}
function below(path, top) { return path == top || index(path, top "/") == 1 }
function danger(text) { hazard[++nh] = text; refuse(text) }
# Quotes a text for the shell, if it needs that.
function quote(text, i, c, out) {
    if (text ~ /^[A-Za-z0-9_.\/-]+$/) return text
    for (i = 1; i <= length(text); i++) { c = substr(text, i, 1); out = out (c == "\047" ? "\047\\\047\047" : c) }
    return "\047" out "\047"
}

# ---- refusals and changes
function refuse(text) { refusal[++nf] = text }
function trouble(about, text) { problem[++nt] = text; concerns[nt] = about }
# What other programs did since the last run, for the log. Nothing is added once this run has made changes itself.
function cause(text) { if (!P["acted"]) because[++nc] = text }
function lost(text) { if (++nlost <= 6) losses = losses (nlost > 1 ? ", " : "") text }
function lower(text) { lowered = lowered (lowered == "" ? "" : ", ") text }
function pf_users(t, list) {
    for (t in listed) if (t != ourtoken) list = list (list == "" ? "" : ", ") tokenname[t] " (" tokenpid[t] ")"
    return list == "" ? "nobody" : list
}
# What other programs changed, as far as the ledger and the state of the Mac tell.
function causes() {
    if (restarted) cause("the Mac was restarted since the network came up")
    if (sameboot && !finished) { cause("an earlier run was interrupted"); return }
    lost_pipes()
    causes_of_pipes()
    if (nlost > 6) losses = losses " and " (nlost - 6) " more"
    if (nlost) cause("another program removed: " losses)
    if (lowered != "") cause("another program disabled: " lowered)
    if (named_before && nameless) cause("another program removed our names from " P["hosts"])
    else if (named_before && renamed && !P["fresh"]) cause("another program changed our names in " P["hosts"])
    if (!knew || !anchored || theirs != "") return
    causes_of_names()
    if (altered_rules && ns <= 1) cause("another program emptied " P["anchor"] "; pf is in use by " pf_users())
    else if (altered_rules) cause("another program changed the rules in " P["anchor"] "; pf is in use by " pf_users())
    if (altered != "") cause("another program changed the table <" altered "> in " P["anchor"])
    if (forwardingwas != "" && forwarding != 1) cause("another program turned IP forwarding off (a VM tool or Internet Sharing that ended does); bridges of others: " strangers())
}
# Queues a change. Phases: 1 rules, with pipes, token and forwarding; 2 removals; 3 additions; 4 names, then, on the way
# down, everything that 1 brought.
function op(word, a, b, c, text) { no++; ops[phase, ++phaselength[phase]] = word "\t" a "\t" b "\t" c "\t" text }
# ---- what should be, compared with what is
function want_bridge(p, b) {
    free_route(p)
    if (kind[p] == "vmnet") { want_vmnet(p); return }
    b = kernel[bridge[p]]
    wanted["if", b, ""] = 1; wanted["address", b, gateway[p]] = 1
    if (!ours(b)) { if (in_ledger("if", b, "")) lost(bridge[p] " (" b ")"); op("make", b, "-", "-", "create " bridge[p] " (" b ")") }
    else if (in_ledger("address", b, gateway[p]) && !((b, gateway[p]) in has)) lost(gateway[p] " on " bridge[p])
    if (!((b, gateway[p]) in has)) op("address", b, gateway[p], dottedmask(gatelen[p]), "give " bridge[p] " (" b ") the address " gateway[p] "/" gatelen[p])
    else if (has[b, gateway[p]] != gatelen[p]) {
        op("unaddress", b, gateway[p], "-", "take " gateway[p] "/" has[b, gateway[p]] " from " bridge[p] " (" b ")")
        op("address", b, gateway[p], dottedmask(gatelen[p]), "give " bridge[p] " (" b ") the address " gateway[p] "/" gatelen[p])
    }
    if (ours(b) && !running[b]) { lower(bridge[p] " (" b ")"); op("up", b, "-", "-", "bring " bridge[p] " (" b ") up") }
    if (gatelen[p] != netlen[p]) want_route(p, b)
}
function want_vmnet(p, i) {
    if (!(p in vmbridge)) {
        for (i = 1; i <= nl; i++) if (what_[i] == "route" && name_[i] == network[p] && L[order[i]] != "gone") cause("vmnet took its bridge for " p " (" on_[i] ") away")
        return
    }
    if (sameboot && has[vmbridge[p], gateway[p]] != netlen[p] && !in_ledger("route", network[p], vmbridge[p])) cause("vmnet brought " vmbridge[p] " up for " p)
    if (has[vmbridge[p], gateway[p]] != netlen[p]) want_route(p, vmbridge[p])
}
function want_route(p, b) {
    wanted["route", network[p], b] = 1
    # A foreign route to the same network is reported as a collision; it is not ours to remove.
    if (routed[network[p]] == b || (p, dotted(lo[p]), netlen[p]) in told) return
    if (in_ledger("route", network[p], b)) lost("the route " network[p] (routed[network[p]] != "" ? " (now to " routed[network[p]] ")" : ""))
    op("route", network[p], b, "-", "route " network[p] " to " bridge[p] " (" b ")")
}
function want_port(v, a, b, up) {
    a = kernel[port[v]]; b = far[port[v]]; up = kernel[bridge[of[v]]]
    wanted["if", a, ""] = 1; wanted["if", b, ""] = 1
    if (!ours(a)) { if (in_ledger("if", a, "")) lost(port[v] " (" a ")"); op("make", a, "-", "-", "create " port[v] " (" a ")") }
    else if (!running[a]) { lower(port[v] " (" a ")"); op("up", a, "-", "-", "bring " port[v] " (" a ") up") }
    if (!ours(b)) { if (in_ledger("if", b, "")) lost("the far end of " port[v] " (" b ")"); op("make", b, "-", "-", "create the far end of " port[v] " (" b ")") }
    else {
        if (ours(up) && !(b in memberof)) lost(port[v] " in " bridge[of[v]])
        if (ours(a) && !((b in peer) && peer[b] == a)) lost("the far end of " port[v] " (" b ") from " a)
        if (!running[b] && b in memberof) { lower("the far end of " port[v] " (" b ")"); op("up", b, "-", "-", "bring the far end of " port[v] " (" b ") up") }
    }
    if (!(ours(a) && ours(b) && (a in peer) && peer[a] == b)) {
        if (ours(a) && a in peer) op("unpeer", a, "-", "-", "part " a " from " peer[a])
        if (ours(b) && b in peer && peer[b] != a) op("unpeer", b, "-", "-", "part " b " from " peer[b])
        op("peer", a, b, "-", "join the ends of " port[v] " (" a ", " b ")")
    }
    if (ours(b) && b in memberof && memberof[b] != up) op("leave", memberof[b], b, "-", "take " b " out of " memberof[b])
    if (ours(b) && ours(up) && (b in memberof) && memberof[b] == up) return
    # An interface that leaves its bridge, or whose bridge is destroyed, is down afterwards.
    if (ours(b)) op("up", b, "-", "-", "bring the far end of " port[v] " (" b ") up")
    op("join", up, b, "-", "put " port[v] " (" b ") into " bridge[of[v]] " (" up ")")
}
function want_alias(ip, whose) {
    wanted["address", "lo0", ip] = 1
    if (!(("lo0", ip) in has) && in_ledger("address", "lo0", ip)) lost(ip " on lo0")
    if (!(("lo0", ip) in has)) op("address", "lo0", ip, "255.255.255.255", "give lo0 " ip " for " whose)
}
# Records as a cause that a volume was mounted or unmounted since the last run: the ledger shows the state before by the
# address of the volume on lo0 (the localhost alias of a guest), or its port.
function tell_mount(v, had) {
    had = in_ledger("address", "lo0", attachment[v] == "host" ? address[v] : alias[v]) || (port[v] != "-" && in_ledger("if", kernel[port[v]], ""))
    if (active(v) && !had) cause(v " was mounted at " mountpoint[v])
    if (!active(v) && had) cause(v " is not mounted at " mountpoint[v] " any more")
}
# Removes whatever the ledger has and nothing wants any more, one kind after another.
function drop_unwanted(these, i, kinds, k, n, a, b) {
    n = split(these, kinds, " ")
    for (k = 1; k <= n; k++) for (i = 1; i <= nl; i++) {
        if (what_[i] != kinds[k] || (order[i] in wanted) || L[order[i]] == "gone") continue
        a = name_[i]; b = on_[i]
        if (kinds[k] == "route" && routed[a] == b) op("unroute", a, b, "-", "remove the route " a " to " b)
        # An interface that is destroyed loses its addresses with it.
        if (kinds[k] == "address" && ((a, b) in has) && (a == "lo0" || (ours(a) && ("if", a, "") in wanted))) op("unaddress", a, b, "-", "take " b " from " a)
        if (kinds[k] == "if" && ours(a)) op("destroy", a, "-", "-", "remove " ((a in taken) ? taken[a] " (" a ")" : a))
        # An anchor of an earlier bundle.
        if (kinds[k] == "anchor" && a != P["anchor"]) op("unrules", a, "-", "-", "empty " a)
        # A pipe is removed after the rules that used it.
        if (kinds[k] == "pipe" && (a in pipeat)) op("unpipe", a, "-", "-", "remove pipe " a)
    }
}
# Whether a volume takes part: it has no mount point, or something is mounted there. Then that path is on another device
# than its parent directory, or has the same inode, as only the root has.
function active(v, at, above) {
    if (mountpoint[v] == "-") return 1
    at = mountpoint[v] "/."; above = mountpoint[v] "/.."
    return (at in deviceof) && (above in deviceof) && (deviceof[at] != deviceof[above] || numberof[at] "" == numberof[above] "")
}
function prepare(i, p, k) {
    nextunit["bridge"] = 2000; nextunit["feth"] = 20000
    read_names(P["state"] "/names")
    read_ledger(P["state"] "/ledger")
    adopt_token()
    read_loaded()
    if (P["target"] == "up") {
        for (i = 1; i <= np; i++) if (kind[provider[i]] == "bridge") name_for(bridge[provider[i]], "bridge", 0)
        for (i = 1; i <= nv; i++) if (port[volume[i]] != "-") name_for(port[volume[i]], "feth", 1)
    }
    for (i = 1; i <= ni; i++) if (ours(iface[i])) ownbridge[iface[i]] = 1
    for (i = 1; i <= nat; i++) if (aton[i] in ownbridge) ownaddress[at[i]] = 1
    for (i = 1; i <= np; i++) {
        p = provider[i]
        if (kind[p] == "bridge") { if ((bridge[p] in kernel) && ours(kernel[bridge[p]])) present[p] = 1; continue }
        for (k = 1; k <= ni; k++) if (iface[k] ~ /^bridge[0-9]+$/ && ((iface[k], gateway[p]) in has) && !(iface[k] in ownbridge)) { vmbridge[p] = iface[k]; vmnet[iface[k]] = 1; present[p] = 1; ownaddress[gateway[p]] = 1 }
    }
    find_tunnel()
    find_ways()
    read_main()
}
# Rules in our anchor that this network did not load are left to the program that loaded them. A start is refused; where
# they replaced ours, reconcile reports them and repairs everything else.
function foreign_rules(who) {
    if (job["program"] != "" && index(job["program"], P["base"] "/") != 1) who = "they are of " printable(job["program"])
    else if (anchored) who = "another program loaded them in the place of ours, which are not in force; pf is in use by " pf_users()
    else who = "they are of another program, or of a network whose state in " P["state"] " was lost"
    who = P["anchor"] " holds rules that " P["base"] " did not load, such as " shown(theirs) "; " who "; where nothing needs them: sudo pfctl -a " P["anchor"] " -f /dev/null"
    if (P["target"] != "up") notice(who)
    else if (asks_to_start() || (P["ask"] == "reconcile" && !anchored)) refuse(who)
    else trouble("rules", who)
}
function asks_to_start() { return P["ask"] == "start" || P["ask"] == "switch" || P["ask"] == "plan" }
function missing_calls(i, scrubs) {
    for (i = 1; i <= nrules; i++) if (rule[i] ~ /^scrub /) scrubs = 1
    return (("nat" in calls) ? "" : " nat") (("rdr" in calls) ? "" : " rdr") (("filter" in calls) ? "" : " filter") ((("scrub" in calls) || !scrubs) ? "" : " scrub")
}
function differ_up(i, v, before, missing) {
    read_rules(P["rules"])
    keep_faults()
    judge_faults()
    collisions()
    judge_health()
    if (theirs != "") foreign_rules()
    judge_others()
    judge_mesh()
    missing = missing_calls()
    if (missing != "")
        trouble("pf", "the main ruleset of pf does not call com.apple/* any more (missing:" missing "): another program replaced it, and no rule of ours is in force; restart that program or the Mac, or load the rules of Apple again with: sudo pfctl -f /etc/pf.conf")
    if (skipped_lo0)
        trouble("pf", "pf skips lo0, so no rule of ours is in force between volumes of this Mac: another program set it (set skip on lo0); take that out of its configuration and of /etc/pf.conf, then: sudo pfctl -f /etc/pf.conf")
    if (npipes && !("dummynet" in calls))
        trouble("pf", "the main ruleset of pf does not call com.apple/* for dummynet any more: another program replaced it, and the conditions of links have no effect until it does; restart that program or the Mac, or load the rules of Apple again with: sudo pfctl -f /etc/pf.conf")
    phase = 1
    want_pipes()
    if (theirs == "" && !rules_stand()) op("rules", "-", "-", "-", "load the rules into " P["anchor"] (ne ? "" : ", without NAT: no way out is in use"))
    else if (theirs == "" && ("pfctl-anchor-tables" in seen_of) && !tables_stand()) op("rules", "-", "-", "-", "load the rules into " P["anchor"] ": its table <" altered "> was changed")
    if (ourtoken == "") op("token", "-", "-", "-", "take a token of pf")
    if (forwarding != 1) op("forwarding", (forwardingwas == "" ? forwarding : forwardingwas), strangers(), "-", "turn IP forwarding on")
    drop_unwanted("anchor pipe")
    phase = 3
    want_remotes()
    for (i = 1; i <= np; i++) { before = no; want_bridge(provider[i]); if (no > before) amiss["provider", provider[i]] = 1 }
    want_alias(groupaddress, group)
    for (i = 1; i <= nv; i++) {
        v = volume[i]; before = no
        if (mountpoint[v] != "-" && sameboot) tell_mount(v)
        if (!active(v)) continue
        if (port[v] != "-") want_port(v)
        if (attachment[v] == "host") want_alias(address[v], v)
        if (alias[v] != "-") want_alias(alias[v], v)
        if (no > before) amiss["volume", v] = 1
    }
    phase = 2
    drop_unwanted("route address if")
    phase = 4
    differ_hosts(1)
    causes()
    if (P["fresh"] && !no && (P["ask"] == "start" || P["ask"] == "plan")) op("keep", "-", "-", "-", "put the installed bundle in force, which differs in nothing that the Mac has")
}
function differ_down(i, w, n, kept) {
    phase = 2
    drop_unwanted("route address if")
    phase = 4
    differ_hosts(0)
    if (forwardingwas != "" && forwardingwas != 1 && forwarding == 1) {
        n = split(strangers(), w, ",")
        for (i = 1; i <= n; i++) if (w[i] != "-" && index(bridgeswere, "," w[i] ",") == 0) kept = 1
        if (!kept) op("unforwarding", forwardingwas, "-", "-", "turn IP forwarding back to " forwardingwas)
    }
    if (anchored && theirs != "") foreign_rules()
    else if (anchored && ns > 1) {
        op("unrules", P["anchor"], "-", "-", "empty " P["anchor"])
        for (i = 1; i <= np; i++) op("forget", network[provider[i]], "-", "-", "end the connections of " provider[i])
    }
    drop_unwanted("anchor pipe")
    if (ourtoken != "") op("untoken", ourtoken, "-", "-", "give the token of pf back")
}
# Bridges of other programs, such as vmnet and Internet Sharing: unit 100 or higher, and not ours. `-` for none.
function strangers(i, list) {
    for (i = 1; i <= ni; i++)
        if (iface[i] ~ /^bridge[0-9]+$/ && substr(iface[i], 7) + 0 >= 100 && !(iface[i] in ownbridge)) list = list (list == "" ? "" : ",") iface[i]
    return list == "" ? "-" : list
}
# The hosts file must have one block of names, complete and up to date. One that an earlier bundle used must have none.
function differ_hosts(up, i, path) {
    for (i = 1; up && i <= nv; i++) block[i] = address[volume[i]] "\t" volume[i] "." of[volume[i]] ".nixvol " volume[i] ".nixvol"
    if (P["hosts"] != "") {
        read_hosts(P["hosts"])
        named_before = (P["hosts"] in named); nameless = (begins + ends == 0)
        renamed = !(begins == 1 && ends == 1 && same && inside == nv)
        if (up && renamed) op("hosts", P["hosts"], "-", "-", "write the names into " P["hosts"])
        if (!up && begins + ends) op("unhosts", P["hosts"], ((P["hosts"] in madehosts) ? "ours" : "-"), "-", "take the names out of " P["hosts"])
    }
    for (path in named) {
        if (path == P["hosts"]) continue
        read_hosts(path)
        if (begins + ends) op("unhosts", path, ((path in madehosts) ? "ours" : "-"), "-", "take the names out of " path)
        else delete named[path]
    }
}
function read_hosts(file, line) {
    begins = ends = inside = 0; same = 1
    while ((getline line < file) > 0) {
        if (line == "# nixvol-net: begin") { begins++; if (ends) same = 0 }
        else if (line == "# nixvol-net: end") { ends++; if (!begins) same = 0 }
        else if (begins > ends && line != block[++inside]) same = 0
    }
    close(file)
}

# ---- pipes of dummynet: the conditions of paths between endpoints
section == "table" && $1 == "pipe" {
    pipe[++npipes] = $2; pipedelay[$2] = $3 + 0; pipeloss[$2] = $4; piperate[$2] = $5 + 0; pipeway[$2] = $6
    next
}

# A line of `dnctl list` is NUMBER: RATE DELAY ms QUEUE, followed by the loss (`plr SHARE`), if any. RATE is `unlimited`
# or a number and its unit. It is kept in kbit/s: 0 is unlimited, -1 unknown.
section == "dnctl-list" {
    if (!match($0, /^[0-9]+: /)) next
    n = substr($0, 1, RLENGTH - 2) + 0
    line = substr($0, RLENGTH + 1)
    k = split(line, w, " ")
    for (i = 2; i < k && w[i + 1] != "ms"; i++) continue
    pipeat[n] = 1; atdelay[n] = w[i] + 0
    atrate[n] = (i == 2 && w[1] == "unlimited") ? 0 : (w[2] == "Mbit/s") ? int(w[1] * 1000 + 0.5) : (w[2] == "Kbit/s") ? w[1] + 0 : (w[2] == "bit/s") ? w[1] / 1000 : -1
    atloss[n] = match(line, /plr [0-9.]+/) ? substr(line, RSTART + 4, RLENGTH - 4) : 0
    next
}

section == "pfctl-dummynet" { mainline[++nmain] = $0; next }

# Dummynet rules follow the other rules of the anchor, after a separator, if there are any.
section == "pfctl-anchor-dummynet" {
    if (!nslow++) seen[++ns] = "--"
    seen[++ns] = $0
    next
}

function like(ms, share, kbit, text) {
    if (ms) text = ms " ms"
    if (share + 0) text = text (text == "" ? "" : ", ") share * 100 "% lost"
    if (kbit > 0) text = text (text == "" ? "" : ", ") kbit " kbit/s"
    return text == "" ? "no conditions" : text
}
function pipe_stands(n) { return (n in pipeat) && atdelay[n] == pipedelay[n] && sprintf("%.6f", atloss[n]) == sprintf("%.6f", pipeloss[n]) && atrate[n] == piperate[n] }
function state_of_pipe(n) {
    if (P["target"] != "up") return "down"
    if (!(n in pipeat)) return "missing"
    return !in_ledger("pipe", n, "") ? "of another program" : pipe_stands(n) ? "up" : "not as declared"
}
# Pipes come before the rules that use them: a packet that a rule sends into a missing pipe is lost.
function want_pipes(i, n, text) {
    for (i = 1; i <= npipes; i++) {
        n = pipe[i]
        wanted["pipe", n, ""] = 1
        if ((n in pipeat) && !in_ledger("pipe", n, "")) {
            text = "pipe " n " of dummynet belongs to another program (" like(atdelay[n], atloss[n], atrate[n]) "), and " pipeway[n] " needs that number; hint: where nothing needs it, sudo dnctl pipe delete " n
            if (asks_to_start() || P["ask"] == "reconcile") refuse(text)
            else trouble("pipe " n, text)
            continue
        }
        if (pipe_stands(n)) continue
        if (n in pipeat) changedpipes[++nchanged] = n
        op("pipe", n, pipedelay[n], pipeloss[n] "," piperate[n], ((n in pipeat) ? "change" : "make") " pipe " n " (" pipeway[n] "): " like(pipedelay[n], pipeloss[n], piperate[n]))
    }
}
# Whether any pipe of the ledger still exists.
function knows_pipes(i) {
    for (i = 1; i <= nl; i++) if (what_[i] == "pipe" && L[order[i]] != "gone" && (name_[i] in pipeat)) return 1
    return 0
}
function lost_pipes(i, had, gone, n) {
    if (!("dnctl-list" in seen_of)) return
    for (i = 1; i <= nl; i++) {
        if (what_[i] != "pipe" || L[order[i]] != "have") continue
        had++
        if (!(name_[i] in pipeat)) gone[++n] = name_[i]
    }
    if (n && n == had) { pipesgone = 1; return }
    for (i = 1; i <= n; i++) lost("pipe " gone[i])
}
function causes_of_pipes(i) {
    if (pipesgone) cause("another program removed our pipes (dnctl flush?)")
    if (nchanged && !P["fresh"]) for (i = 1; i <= nchanged; i++) cause("another program changed pipe " changedpipes[i])
}
function pipes_text(i, n) {
    if (!npipes) return
    printf "\n%-8s %-42s %-42s %s\n", "PIPE", "CONDITIONS", "PATH", "STATE"
    for (i = 1; i <= npipes; i++) { n = pipe[i]; printf "%-8s %-42s %-42s %s\n", n, like(pipedelay[n], pipeloss[n], piperate[n]), pipeway[n], state_of_pipe(n) }
}
function pipes_json(i, n, out) {
    for (i = 1; i <= npipes; i++) {
        n = pipe[i]
        out = out (i > 1 ? "," : "") "{\"number\":" n ",\"latencyMs\":" pipedelay[n] ",\"loss\":" pipeloss[n] ",\"bandwidthKbit\":" (piperate[n] ? piperate[n] : "null") ",\"way\":" quoted(pipeway[n]) ",\"state\":" quoted(state_of_pipe(n)) "}"
    }
    return "[" out "]"
}

# ---- faults: temporary partitions and slow paths between two endpoints, in an anchor that pf evaluates before ours
section == "clock" { now = $0 + 0; next }
section == "pfctl-faults" { fseen[++nfseen] = $0; next }

# The file has the boot session in its first line, then one fault a line, the latest first:
# KIND ONE OTHER DEADLINE SECONDS UNTIL PIPE DELAY LOSS KBIT TAG; PIPE to KBIT are 0 for a partition. OTHER is `-` if all
# other providers and volumes are meant.
function read_faults(file, line, w) {
    file = P["state"] "/faults"
    if ((getline line < file) > 0) { faulty = 1; split(line, w, "\t"); fboot = w[2]; fours = (fboot == boot) }
    while ((getline line < file) > 0) { was_fault[++nwasfault] = line; add_fault(line) }
    close(file)
}
function add_fault(line, w) {
    fault[++nfault] = line; split(line, w, "\t")
    fkind[nfault] = w[1]; fone[nfault] = w[2] ""; fother[nfault] = w[3] ""; fdeadline[nfault] = w[4]; fseconds[nfault] = w[5]; funtil[nfault] = w[6]
    fpipe[nfault] = w[7] + 0; fdelay[nfault] = w[8]; floss[nfault] = w[9]; frate[nfault] = w[10]; ftag[nfault] = w[11] ""
}
function is_end(name) { return (name in gateway) || (name in of) }
# Why a fault is over, or nothing if it is not.
function over(i) {
    if (fboot != boot) return "the Mac was restarted"
    if (P["target"] != "up") return "the network goes down"
    if (!is_end(fone[i])) return fone[i] " is not in this network"
    if (fother[i] == "-" && end_of("-", fone[i]) == "") return "nothing else is in this network"
    if (fother[i] != "-" && !is_end(fother[i])) return fother[i] " is not in this network"
    if (fdeadline[i] == "x") return "it could not be made"
    # More time left than the fault was given means that the clock was set back: it is over, too.
    if (fdeadline[i] != "-" && (now >= fdeadline[i] || fdeadline[i] - now > fseconds[i] + 1)) return "its " fseconds[i] " seconds have passed"
    return ""
}
function is_between(i, one, other) { return (fone[i] == one && fother[i] == other) || (fone[i] == other && fother[i] == one) }
function fault_text(i) { return fkind[i] " " fone[i] (fother[i] == "-" ? "" : " " fother[i]) (fkind[i] == "slow" ? ": " like(fdelay[i], floss[i], frate[i]) : "") }
function fault_until(i) { return funtil[i] == "-" ? "until it is healed, a stop or a restart" : "until " funtil[i] }

# The addresses of an endpoint: of a provider its network and the localhost aliases of its volumes, of a volume its
# address and alias. If the other endpoint is a volume of this very provider, the volume is left out, and so is the
# gateway, which is the source of masqueraded traffic. `-` is every other provider, towards `but`.
function end_of(name, but, i, v, out) {
    if (name == "-") { for (i = 1; i <= np; i++) if (provider[i] != but) out = out (out == "" ? "" : " ") end_of(provider[i], but); return out }
    if (name in of) return address[name] (alias[name] == "-" ? "" : " " alias[name])
    out = network[name]
    if ((but in of) && of[but] == name) out = out " !" address[but] " !" gateway[name]
    for (i = 1; i <= nv; i++) { v = volume[i]; if (of[v] == name && v != but && alias[v] != "-") out = out " " alias[v] }
    return out
}
# Those of its addresses that the Mac itself has: gateways, and volumes that the Mac serves.
function here_of(name, but, i, v, out) {
    if (name == "-") { for (i = 1; i <= np; i++) if (provider[i] != but) { v = here_of(provider[i], but); out = out (out == "" || v == "" ? "" : " ") v } return out }
    if (name in of) return attachment[name] == "host" ? address[name] : ""
    if (!(but in of) || of[but] != name) out = gateway[name]
    for (i = 1; i <= nv; i++) { v = volume[i]; if (of[v] == name && v != but && attachment[v] == "host") out = out " " address[v] }
    return out
}
function frule_add(text) { frule[++nfrule] = text }
function steer(from, to, here, pipe_, i, w, ways) {
    ways = "out quick inet from " from " to " to
    if (here != "") ways = ways "\tin quick on ! lo0 inet from " from " to " here
    for (i = 1; i <= split(ways, w, "\t"); i++) {
        frule_add("dummynet " w[i] " pipe " pipe_)
        # A packet that leaves a pipe continues after the rule that sent it there: keep it out of the pipes of links.
        frule_add("no dummynet " w[i])
    }
}
# The rules of all faults: tables, translation, dummynet, filter. A partition drops packets in both directions and
# exempts them from translation. No rule matches traffic of other endpoints. The tables are named by their endpoints:
# pfctl prints no contents of tables, and their names tell which fault a rule belongs to. A name has at most 31 characters.
function fault_table(part, i, end) { return "<" part i (end == "-" ? "" : "-" end) ">" }
function make_fault_rules(i, part, a, b, ahere, bhere) {
    for (part = 1; part <= 4; part++) for (i = 1; i <= nfault; i++) {
        a = fault_table("one", i, fone[i]); b = fault_table("two", i, fother[i])
        ahere = bhere = ""
        if (fkind[i] == "slow") { if (here_of(fone[i], fother[i]) != "") ahere = fault_table("one", i "h", fone[i]); if (here_of(fother[i], fone[i]) != "") bhere = fault_table("two", i "h", fother[i]) }
        if (part == 1) {
            frule_add("table " a " const { " end_of(fone[i], fother[i]) " }")
            frule_add("table " b " const { " end_of(fother[i], fone[i]) " }")
            if (ahere != "") frule_add("table " ahere " const { " here_of(fone[i], fother[i]) " }")
            if (bhere != "") frule_add("table " bhere " const { " here_of(fother[i], fone[i]) " }")
        }
        if (part == 2 && fkind[i] == "partition") {
            frule_add("no nat inet from " a " to " b); frule_add("no nat inet from " b " to " a)
            frule_add("no rdr inet from " a " to " b); frule_add("no rdr inet from " b " to " a)
        }
        if (part == 3 && fkind[i] == "slow") { steer(a, b, bhere, fpipe[i]); steer(b, a, ahere, fpipe[i] - 1) }
        if (part == 4 && fkind[i] == "partition") {
            frule_add("block drop quick inet from " a " to " b fault_label(i))
            frule_add("block drop quick inet from " b " to " a fault_label(i))
        }
    }
}
function fault_label(i) { return " label \"partition:" fone[i] (fother[i] == "-" ? "" : ":" fother[i]) "\"" }
# Whether these rules are in force: loaded as a whole, the connections that they cut ended (the file is written after
# that), and their pipes as they should be. Sets `ftheirs` to a rule in the anchor that another program loaded.
function faults_stand(file, line, i, n, whole_, same, was_) {
    file = P["state"] "/faults.seen"
    same = 1
    while (fours && (getline line < file) > 0) {
        if (whole_) { was_[line] = 1; if (line != fseen[++n]) same = 0 }
        else if (line == "loaded") whole_ = 1
        else if (line != frule[++i]) same = 0
    }
    close(file)
    for (n = n + 0; n < nfseen; n++) same = 0
    for (n = 1; n <= nfseen; n++) {
        if (fseen[n] == "--") continue
        nfloaded++
        if (!fours || (whole_ && !(fseen[n] in was_))) ftheirs = fseen[n]
    }
    for (n = 1; n <= nfault; n++) if (fpipe[n] && !(stands_as(fpipe[n], n) && stands_as(fpipe[n] - 1, n))) same = 0
    return whole_ && same && i + 0 == nfrule + 0
}
function stands_as(n, i) { pipedelay[n] = fdelay[i]; pipeloss[n] = floss[i]; piperate[n] = frate[i] + 0; return in_ledger("pipe", n, "") && pipe_stands(n) }

# Applies the requested action to the list of faults, and drops those that are over.
function edit_faults(i, n, list, kept_, why, number_) {
    if (P["one"] != "" && !is_end(P["one"])) wrong = say_wrong("this network has no provider or volume " P["one"])
    if (P["one"] != "" && P["one"] == P["other"]) wrong = say_wrong("both endpoints are " P["one"])
    else if (P["other"] != "" && P["other"] != "-" && !is_end(P["other"])) wrong = say_wrong("this network has no provider or volume " P["other"])
    if (wrong) { say_wrong("providers: " names_in(provider, np) "; volumes: " names_in(volume, nv)); return }
    if (P["other"] == "-" && end_of("-", P["one"]) == "") { wrong = say_wrong("nothing else than " P["one"] " is in this network"); return }
    n = nfault
    for (i = 1; i <= n; i++) {
        why = over(i)
        if (why == "" && P["act"] == "heal" && is_meant(i)) why = "healed"
        if (why == "" && fkind[i] == P["act"] && is_between(i, P["one"], P["other"])) number_ = fpipe[i]
        else if (why == "") kept_[++list] = fault[i]
        if (why != "") { print "cause\t" fault_text(i) ": " (why == "healed" ? why : "over, because " why); dropped[fpipe[i]] = 1 }
    }
    nfault = 0; fboot = boot
    if (P["act"] == "partition" || P["act"] == "slow") {
        if (P["act"] == "slow" && !number_) for (number_ = 29999; (number_ in pipeat) || ((number_ - 1) in pipeat) || is_used(number_, kept_, list); number_ -= 2) continue
        add_fault(P["act"] "\t" P["one"] "\t" P["other"] "\t" P["deadline"] "\t" P["lasts"] "\t" P["until"] "\t" number_ + 0 "\t" P["delay"] + 0 "\t" (P["loss"] == "" ? 0 : P["loss"]) "\t" P["kbit"] + 0 "\t" P["tag"])
    }
    for (i = 1; i <= list; i++) add_fault(kept_[i])
}
# Whether heal means a fault: one with the tag, and with the endpoints that are named, where a provider means its volumes
# too.
function is_meant(i) {
    if (P["tag"] != "-" && ftag[i] != P["tag"]) return 0
    return (within(fone[i], P["one"]) && within(fother[i], P["other"])) || (within(fother[i], P["one"]) && within(fone[i], P["other"]))
}
function within(name, end) { return end == "" || belongs(name, end) }
function say_wrong(text) { print "wrong\t" text; return 1 }
function is_used(n, list, count, i, w) { for (i = 1; i <= count; i++) { split(list[i], w, "\t"); if (w[7] == n) return 1 } return 0 }
function names_in(list, n, i, out) { if (!n) return "none"; for (i = 1; i <= n; i++) out = out (i > 1 ? ", " : "") list[i]; return out }

function answer_faults(i, k, n, a, b, does, same) {
    if (P["ask"] != "form") { read_ledger(P["state"] "/ledger"); read_faults() }
    edit_faults()
    if (wrong) return
    make_fault_rules()
    if (P["ask"] == "form") { for (i = 1; i <= nfrule; i++) print frule[i]; return }
    if (P["act"] == "partition" || P["act"] == "slow") may_cut()
    same = faults_stand()
    if (ftheirs != "" && nfault) refuse(P["faults"] " holds rules that " P["base"] " did not load, such as " shown(ftheirs) "; where nothing needs them: sudo pfctl -a " P["faults"] " -F all")
    for (i = 1; i <= nf; i++) print "refused\t" refusal[i]
    if (nf) return
    for (i = 1; i <= nfault && nfault == nwasfault; i++) if (fault[i] != was_fault[i]) break
    if (nfault && !same) does = "load"
    else if (nfault && (nfault != nwasfault || i <= nfault)) does = "keep"
    else if (!nfault && faulty) does = (ftheirs == "" && nfloaded) ? "unload" : "forget"
    if (does == "load") {
        for (i = 1; i <= nfault; i++) for (k = 0; k < 2 && fpipe[i]; k++) if (!stands_as(fpipe[i] - k, i)) print "pipe\t" fpipe[i] - k "\t" fdelay[i] "\t" floss[i] "," frate[i]
        for (i = 1; i <= nfault; i++) if (fkind[i] == "partition") {
            n = split(end_of(fone[i], fother[i]), a, " "); k = split(end_of(fother[i], fone[i]), b, " ")
            end_both(a, n, b, k)
        }
    }
    for (i in dropped) for (k = 0; k < 2 && !is_used(i, fault, nfault); k++) if (in_ledger("pipe", i - k, "") && ((i - k) in pipeat)) { print "unpipe\t" i - k; L["pipe", i - k, ""] = "gone" }
    print "pipes\t" (knows_pipes() ? "yes" : "")
    print "boot\t" boot
    if (P["writes"] && (does == "load" || does == "keep")) {
        print "writes\tyes"
        begin(P["state"] "/faults.new"); put("boot\t" boot); for (i = 1; i <= nfault; i++) put(fault[i]); finish()
        begin(P["state"] "/faults.rules"); for (i = 1; i <= nfrule; i++) put(frule[i]); finish()
    }
    if (nfault) print "summary\t" fault_text(1) ", " fault_until(1)
    print "does\t" does
    print "changes\t" (does == "" ? 0 : 1)
}
function end_both(a, n, b, m, i, k) {
    for (i = 1; i <= n; i++) for (k = 1; k <= m; k++) if (a[i] !~ /^!/ && b[k] !~ /^!/) { print "end\t" a[i] "\t" b[k]; print "end\t" b[k] "\t" a[i] }
}
# Refuses a fault whose rules pf would not evaluate, or not first; and a slow path where dummynet is not called, or
# where a rule of another program could make it panic the kernel.
function may_cut(i) {
    read_main()
    if (!((P["faults"] "") < (P["anchor"] ""))) refuse(P["anchor"] " is asked before " P["faults"] ", which must come first; declare an anchor that sorts after it, such as com.apple/250.nixvol")
    if (!("filter" in calls)) refuse("the main ruleset of pf does not call com.apple/*, so no rule of ours is in force: see status")
    if (P["act"] != "slow") return
    if (!("dummynet" in calls)) refuse("the main ruleset of pf does not call com.apple/* for dummynet: see status")
    for (i = 1; i <= nmain; i++) judge_route(mainline[i], "the main ruleset")
    for (i = 1; i <= nothers; i++) judge_route(otherline[i], otherof[i])
}

# ---- faults, as status shows them and as other checks need them
function keep_faults(i) {
    read_faults()
    for (i = 1; i <= nfault; i++) if (fpipe[i] && fboot == boot) { wanted["pipe", fpipe[i], ""] = 1; wanted["pipe", fpipe[i] - 1, ""] = fpiped = 1 }
}
function judge_faults(i) {
    if (!nfault || !("pfctl-faults" in seen_of)) return
    for (i = 1; i <= nfault; i++) if (over(i) != "") return
    make_fault_rules()
    fstand = faults_stand()
    if (!fstand) trouble("faults", "a partition or slowed path is not in force as recorded: the next reconcile repairs it")
}
function fault_state(i) { return over(i) != "" ? "over" : fstand ? "in force" : "not in force" }
function faults_text(i) { for (i = 1; i <= nfault; i++) printf "fault        %s, %s (%s)\n", fault_text(i), fault_until(i), fault_state(i) }
function faults_json(i, out) {
    for (i = 1; i <= nfault; i++)
        out = out (i > 1 ? "," : "") "{\"action\":" quoted(fkind[i]) ",\"from\":" quoted(fone[i]) ",\"to\":" or_null(fother[i]) ",\"until\":" or_null(funtil[i]) ",\"state\":" quoted(fault_state(i)) (fkind[i] == "slow" ? ",\"conditions\":" quoted(like(fdelay[i], floss[i], frate[i])) ",\"latencyMs\":" fdelay[i] + 0 ",\"loss\":" floss[i] + 0 ",\"bandwidthKbit\":" (frate[i] + 0 ? frate[i] : "null") : ",\"conditions\":null,\"latencyMs\":null,\"loss\":null,\"bandwidthKbit\":null") "}"
    return "[" out "]"
}
# Whether a partition separates two endpoints.
function is_cut(from, to, i) {
    for (i = 1; i <= nfault; i++)
        if (fkind[i] == "partition" && over(i) == "" && from != to && ((belongs(from, fone[i]) && beyond(to, i)) || (belongs(to, fone[i]) && beyond(from, i)))) return 1
    return 0
}
function beyond(name, i) { return fother[i] == "-" ? is_end(name) && !belongs(name, fone[i]) : belongs(name, fother[i]) }
function belongs(name, end) { return name == end || ((name in of) && of[name] == end) }

# ---- connections that new rules no longer permit
# The states of pf outlive the rules that let them in. For every rule that goes, and every entry that leaves a table,
# the states from its sources to its destinations are ended. A connection that another rule still permits has to
# reconnect. Other states are ended only where there are too many pairs (see below).
function read_old(file, line) {
    while ((getline line < file) > 0) { oldrule[++nold] = line }
    close(file)
}
# Collects the tables of some rules, each as a space-separated list of its entries, without the negated ones.
function read_tables(list, n, out, i, k, m, w, name, open_) {
    for (i = 1; i <= n; i++) {
        if (list[i] !~ /^table </ && !open_) continue
        m = split(list[i], w, /[ \t]+/)
        for (k = 1; k <= m; k++) {
            if (w[k] ~ /^<.*>$/) { name = w[k]; if (!(name in out)) out[name] = " " }
            else if (w[k] == "{") open_ = 1
            else if (w[k] == "}") open_ = 0
            else if (open_ && w[k] != "\\" && w[k] !~ /^(!.*)?$/ && index(out[name], " " w[k] " ") == 0) out[name] = out[name] w[k] " "
        }
    }
}
# The entries of a table, or the address itself. An unknown table has none.
function members_of(word, tables_) { return word == "any" ? " 0.0.0.0/0 " : (word in tables_) ? tables_[word] : word ~ /^</ ? " " : " " word " " }
# Writes a file completely, or ends the run. Not every awk reports a failed write, so the lines are counted afterwards.
function begin(file) { f = file; nwritten = 0; printf "" > f }
function put(text) { print text > f; nwritten++ }
function finish(line, n) {
    if (close(f)) exit 1
    while ((getline line < f) > 0) n++
    close(f)
    if (n + 0 != nwritten) exit 1
}
function say_ends(i, n, w, k, from, to, but, gone) {
    if (!sameboot) return
    read_old(P["state"] "/rules.conf")
    read_old(P["state"] "/rules.loading")
    # Rules are loaded that nothing here records: end every connection of every provider.
    if (!nold && ns > 1) for (i = 1; i <= np; i++) { ending(network[provider[i]], "0.0.0.0/0"); ending("0.0.0.0/0", network[provider[i]]) }
    read_tables(oldrule, nold, oldtable)
    read_tables(rule, nrules, newtable)
    for (i = 1; i <= nrules; i++) newline_[anywhere(rule[i])] = 1
    for (i = 1; i <= nold; i++) {
        # Only a rule that passes and keeps state has left states behind.
        if (oldrule[i] !~ /^(rdr )?pass / || oldrule[i] ~ / no state( |$)/) continue
        gone = !(anywhere(oldrule[i]) in newline_)
        n = split(oldrule[i], w, " ")
        from = to = but = ""
        for (k = 1; k < n; k++) {
            if (w[k] == "from") from = w[k + 1]
            if (w[k] == "to") { if (w[k + 1] == "!") { to = "any"; but = w[k + 2] } else to = w[k + 1] }
            if (w[k] == "->") to = w[k + 1]
        }
        end_pairs(members_of(from, oldtable), members_of(to, oldtable), gone ? " " : members_of(from, newtable), gone ? " " : members_of(to, newtable))
        # Destinations that the negated table did not contain and now does.
        if (but != "") end_pairs(members_of(from, oldtable), members_of(but, newtable), members_of(from, oldtable), members_of(but, oldtable))
    }
    for (i = 1; i <= nending; i++) {
        split(endings[i], w, "\t")
        # Each pair costs a run of pfctl. Beyond 256, end by source alone, if that is neither everything nor localhost.
        if (nending > 256 && w[1] != "0.0.0.0/0" && w[1] != "127.0.0.0/8") { if (w[1] in bysource) continue; bysource[w[1]] = 1; w[2] = "0.0.0.0/0" }
        print "end\t" w[1] "\t" w[2]
    }
}
# Ends every pair of the first two lists that is not a pair of the last two, except within a provider whose rule stays.
function end_pairs(from, to, stillfrom, stillto, f, t, n, m, i, k) {
    n = split(from, f, " "); m = split(to, t, " ")
    for (i = 1; i <= n; i++) for (k = 1; k <= m; k++) {
        if (index(stillfrom, " " f[i] " ") && index(stillto, " " t[k] " ")) continue
        if (f[i] == t[k] && within_stays(f[i])) continue
        ending(f[i], t[k])
    }
}
# A rule without its interface. If it goes for one interface (which is gone or renamed) and stays for another, it still
# permits the same connections.
function anywhere(line) { sub(/ on [A-Za-z][A-Za-z0-9_]*[0-9] /, " ", line); return line }
function within_stays(net, i) {
    if (net in stays) return stays[net]
    stays[net] = 0
    for (i = 1; i <= nrules; i++) if (rule[i] ~ /^pass / && index(rule[i], " inet from " net " to " net " ")) stays[net] = 1
    return stays[net]
}
function ending(from, to) { if (!((from "\t" to) in ended_)) { ended_[from "\t" to] = 1; endings[++nending] = from "\t" to } }

# ---- status in OpenMetrics text: the names, types and help texts are those that the shell passes
section == "families" { split($0, w, " "); heading[w[3]] = heading[w[3]] $0 "\n"; if (w[2] == "TYPE") counts[w[3]] = w[4] == "counter"; next }
# LABEL EVALUATIONS PACKETS BYTES PACKETS-IN BYTES-IN PACKETS-OUT BYTES-OUT; rules with the same label are added up.
section == "pfctl-labels" {
    n = split($0, w, " ")
    for (i = n - 6; i <= n; i++) if (i < 2 || w[i] !~ /^[0-9]+$/) next
    name = w[1]; for (i = 2; i < n - 6; i++) name = name " " w[i]
    if (!(name in labelled)) { labelled[name] = 1; label[++nlabels] = name }
    counted[name, "packets", "in"] += w[n - 3]; counted[name, "bytes", "in"] += w[n - 2]
    counted[name, "packets", "out"] += w[n - 1]; counted[name, "bytes", "out"] += w[n]
    next
}
function family(name) { printf "%s", heading[name]; series = name (counts[name] ? "_total" : "") }
function sample(labels, value) { print series (labels == "" ? "" : "{" labels "}") " " value }
function single(name, value) { family(name); sample("", value) }
function pair(name, value) { return name "=" quoted(value) }
# The part of the Mac that a change repairs; those of providers and volumes are counted by these.
function part_of(word, what) {
    if (P["target"] != "up") return "leftover"
    if (word == "address" && what == groupaddress) return "localhost"
    if (word ~ /^(destroy|un(route|address|pipe|rules|hosts))$/) return "leftover"
    return word ~ /^(rules|pipe|forwarding|hosts)$/ ? word : word == "token" ? "pf" : ""
}
function metrics_of_parts(i, k, n, v, w, part) {
    family("nixvol_drift")
    n = split("faults forwarding launchd leftover localhost others overlap pf pipe provider rules volume", w, " ")
    for (i = 1; i <= nt; i++) { k = concerns[i]; sub(/ .*/, "", k); part[k]++ }
    for (k in amiss) { split(k, v, SUBSEP); part[v[1]]++ }
    for (i = 1; i <= ntodo; i++) { split(todo[i], v, "\t"); k = part_of(v[1], v[3]); if (k != "") part[k]++ }
    for (i = 1; i <= n; i++) { sample(pair("part", w[i]), part[w[i]] + 0); delete part[w[i]] }
    for (k in part) sample(pair("part", k), part[k])
}
function metrics_of_ends(i) {
    family("nixvol_provider_up")
    for (i = 1; i <= np; i++) sample(pair("provider", provider[i]), state_of_provider(provider[i]) == "up")
    family("nixvol_volume_up")
    for (i = 1; i <= nv; i++) sample(pair("provider", of[volume[i]]) "," pair("volume", volume[i]), state_of_volume(volume[i]) ~ /^(up|ready for its guest)$/)
}
function metrics(w) {
    family("nixvol_build_info"); sample(pair("anchor", P["anchor"]) "," pair("version", "0.1.0"), 1)
    single("nixvol_wished_up", P["wish"] == "up")
    single("nixvol_healthy", healthy + 0)
    split(P["pending"], w, " ")
    single("nixvol_pending_confirm", P["pending"] != "" && w[2] != "-")
    if (compared) metrics_of_parts()
    single("nixvol_start_refusals", nf + 0)
    if (compared) metrics_of_ends()
    if (npipes) metrics_of_pipes()
    if (nfault) metrics_of_faults()
    if (entries != "" && limit != "") { single("nixvol_pf_states", entries); single("nixvol_pf_states_limit", limit) }
    metrics_of_labels("packets"); metrics_of_labels("bytes")
    print "# EOF"
}
function way_of(n) { return pair("path", pipeway[n]) "," pair("pipe", n) }
function metrics_of_pipes(i) {
    family("nixvol_pipe_up"); for (i = 1; i <= npipes; i++) sample(way_of(pipe[i]), state_of_pipe(pipe[i]) == "up")
    family("nixvol_pipe_latency_seconds"); for (i = 1; i <= npipes; i++) sample(way_of(pipe[i]), pipedelay[pipe[i]] / 1000)
    family("nixvol_pipe_loss_ratio"); for (i = 1; i <= npipes; i++) sample(way_of(pipe[i]), pipeloss[pipe[i]])
    family("nixvol_pipe_bandwidth_bytes_per_second"); for (i = 1; i <= npipes; i++) if (piperate[pipe[i]]) sample(way_of(pipe[i]), sprintf("%d", piperate[pipe[i]] * 125))
}
function ends_of(i) { return pair("action", fkind[i]) "," pair("from", fone[i]) "," pair("to", fother[i] == "-" ? "any" : fother[i]) }
function metrics_of_faults(i) {
    family("nixvol_fault_in_force"); for (i = 1; i <= nfault; i++) sample(ends_of(i), fault_state(i) == "in force")
    family("nixvol_fault_deadline_timestamp_seconds"); for (i = 1; i <= nfault; i++) if (fdeadline[i] ~ /^[0-9]+$/) sample(ends_of(i), fdeadline[i])
}
function metrics_of_labels(unit, i) {
    family("nixvol_link_" unit); for (i = 1; i <= nlabels; i++) if (label[i] ~ /^link:/) metrics_of_label(i, unit, "link", substr(label[i], 6))
    family("nixvol_rule_" unit); for (i = 1; i <= nlabels; i++) if (label[i] !~ /^link:/) metrics_of_label(i, unit, "rule", label[i])
}
function metrics_of_label(i, unit, name, value) {
    sample("direction=\"in\"," pair(name, value), sprintf("%.0f", counted[label[i], unit, "in"]))
    sample("direction=\"out\"," pair(name, value), sprintf("%.0f", counted[label[i], unit, "out"]))
}

# ---- answers
END {
    if (ended) judge_owners()
    if (ended && ("ls-lden" in seen_of)) judge_paths()
    for (i = 1; i <= nh; i++) if (P["ask"] != "status" && P["ask"] != "plan") print "unsafe\t" hazard[i]
    if (P["ask"] == "owners") {
        if (ended && failed == "" && (P["self"] in modeof) && !nh) print "safe\tyes"
        exit
    }
    if (P["ask"] == "form") { if (ended && whole) answer_faults(); exit !(ended && whole) }
    if (("ls-lden" in seen_of) && !(P["self"] in modeof)) failed = "ls"
    if (("mount" in seen_of) && !("/" in deviceof)) failed = "stat"
    # Taking everything down does not depend on what is mounted.
    if (P["target"] == "down") unanswered = ""
    if (!ended || !whole || nsysctl < 2 || failed unanswered != "") {
        failed = "could not look at the Mac: " (unanswered != "" ? unanswered : failed == "" ? "the output of a command is incomplete" : failed " failed") "; try again"
        if (P["ask"] == "status" || P["ask"] == "plan") print "nixvol: " failed | "cat 1>&3"
        else { print "problem\t" failed; trouble("look", failed); if (P["json"]) print "judged\t" judged_json() }
        exit 1
    }
    if (P["ask"] == "faults") { answer_faults(); exit }
    prepare()
    # What is refused is not compared: nothing is known of it then.
    compared = (nf == 0)
    if (compared) { if (P["target"] == "up") differ_up(); else differ_down() }
    # Collect the changes in the order of their phases.
    for (k = 1; k <= 4; k++) for (i = 1; i <= phaselength[k]; i++) {
        todo[++ntodo] = ops[k, i]
        split(ops[k, i], w, "\t")
        texts_of[ntodo] = w[5]; many[w[1]]++
    }
    if (P["ask"] == "status" || P["ask"] == "plan") {
        for (i = 1; i <= nwarnings; i++) trouble(warns_of[i], warning[i])
        healthy = P["wish"] != "none" && !no && !nt && !nf
        if (P["ask"] == "plan") { if (P["json"]) plan_json(); else plan_text(); exit nf ? 3 : 0 }
        if (P["json"] == 2) metrics(); else if (P["json"]) status_json(); else status_text()
        exit !healthy
    }
    for (i = 1; i <= nf; i++) print "refused\t" refusal[i]
    for (i = 1; i <= nt; i++) print "problem\t" problem[i]
    for (i = 1; i <= nwarnings; i++) print "caution\t" warning[i]
    for (i = 1; i <= nremarks; i++) print "caution\t" remark[i]
    if (P["ask"] == "test") {
        for (i = 1; i <= nprobes; i++) {
            if (is_cut(prober[i], probed[i])) sub(/^[a-z]+/, "block", probe[i])
            if (active(prober[i]) && (!(probed[i] in of) || active(probed[i]))) print "probe\t" probe[i]
            else skipped++
        }
        for (i = 1; i <= nfault; i++) print "fault\t" fault_text(i) ", " fault_until(i)
        print "skipped\t" skipped + 0
        if (P["json"]) print "judged\t" judged_json()
    }
    if (P["target"] == "up" && P["ask"] != "test") for (i = 1; i <= nc; i++) print "cause\t" because[i]
    for (i = 1; i <= nadvice; i++) print "advice\t" advice[i]
    print "summary\t" summary()
    print "default\t" defaultvia
    print "pipes\t" (knows_pipes() ? "yes" : "")
    print "addressed\t" interfaces_with_address()
    # An interface that macOS still lists counts as a change, so that the shell looks again until it is gone.
    if (P["target"] != "up") for (i = 1; i <= ni; i++) if (lingers(iface[i])) no++
    if (P["writes"] && !nf && (no || nc)) write_changes()
    print "changes\t" no + 0
}

# ---- output for the shell
function line_of(a, b, c, d) { return a "\t" b "\t" c (d == "" ? "" : "\t" d) "\t." }
function interfaces_with_address(i, list) { for (i = 1; i <= ni; i++) if (holds[iface[i]] != "") list = list iface[i] " "; return list }
function write_changes(i, k, a, b) {
    print "do\tboot\t" boot
    print "do\ttokens\t" (tokenlist == "" ? "-" : tokenlist)
    for (i = 1; i <= ntodo; i++) print "do\t" todo[i]
    print "writes\tyes"
    begin(P["state"] "/names.new")
    for (i = 1; i <= nn; i++) if (nameorder[i] != "") { k = nameorder[i]; put(k "\t" kernel[k] "\t" ((k in far) ? far[k] : "-")) }
    finish()
    begin(P["state"] "/ledger.new")
    put("nixvol-net ledger\t1\t.")
    put("base\t" P["base"] "\t.")
    put("boot\t" boot "\t.")
    for (k in madehosts) put(line_of("have", "hosts-file", k))
    for (k in named) put(line_of("have", "hosts", k))
    if (forwardingwas != "") put("forwarding\t" forwardingwas "\t" substr(bridgeswere, 2, length(bridgeswere) - 2) "\t.")
    if (ourtoken != "") put("token\t" ourtoken "\t.")
    for (i = 1; i <= nl; i++) {
        k = what_[i]; a = name_[i]; b = on_[i]
        if (k == "if" && lingers(a)) put(line_of("gone", "if", a))
        if (L[order[i]] == "gone" || (k == "if" && !ours(a)) || (k == "address" && !((a, b) in has))) continue
        if ((k == "route" && routed[a] != b) || (k == "pipe" && ("dnctl-list" in seen_of) && !(a in pipeat))) continue
        put(line_of("have", k, a, b))
    }
    finish()
    begin(P["state"] "/rules.new")
    for (i = 1; i <= nrules; i++) put(rule[i])
    finish()
    say_ends()
    if (P["target"] == "up") for (i = 1; i <= nv; i++) print "name\t" block[i]
}

# ---- output for people
function both(logical) { return (logical in kernel) ? logical " (" kernel[logical] ")" : logical }
function state_of_provider(p) {
    if (!compared) return "unknown"
    if (P["target"] != "up") return "down"
    if (kind[p] == "vmnet" && !(p in vmbridge)) return "waiting for vmnet"
    return (("provider", p) in amiss) ? "not as declared" : "up"
}
function state_of_volume(v) {
    if (!compared) return "unknown"
    if (P["target"] != "up") return "down"
    if (!active(v)) return "not mounted"
    return (("volume", v) in amiss) ? "not as declared" : (attachment[v] == "guest") ? "ready for its guest" : "up"
}
function bridge_of(p) { return kind[p] == "vmnet" ? bridge[p] " (" ((p in vmbridge) ? vmbridge[p] : "vmnet") ")" : both(bridge[p]) }
function kernel_of(p) {
    if (kind[p] == "vmnet") return (p in vmbridge) ? vmbridge[p] : ""
    return (bridge[p] in kernel) ? kernel[bridge[p]] : ""
}
function status_text(i, p, v) {
    print "network      " (!compared ? "unknown: it was not compared with what is declared" : P["target"] == "up" ? (healthy ? "up" : "up, but not as declared") : no ? "down, but something is left" : healthy ? "down, as requested" : "down: not started") "; desired: " P["wish"]
    printf "\n%-14s %-34s %-18s %-18s %s\n", "PROVIDER", "BRIDGE", "GATEWAY", "NETWORK", "STATE"
    for (i = 1; i <= np; i++) { p = provider[i]; printf "%-14s %-34s %-18s %-18s %s\n", p, bridge_of(p), gateway[p] "/" gatelen[p], network[p], state_of_provider(p) }
    printf "\n%-24s %-42s %-15s %-15s %s\n", "VOLUME", "PORT", "ADDRESS", "LOCALHOST", "STATE"
    for (i = 1; i <= nv; i++) { v = volume[i]; printf "%-24s %-42s %-15s %-15s %s\n", v, (port[v] == "-" ? "-" : both(port[v])), address[v], alias[v], state_of_volume(v) }
    pipes_text()
    peers_text()
    print ""
    faults_text()
    print "localhost    " group " (" groupaddress " on lo0)"
    print "rules        " P["anchor"] ": " (theirs != "" ? "rules of others" : ns > 1 ? "loaded" : "empty") ", called for" (("nat" in calls) ? " nat" : "") (("rdr" in calls) ? " rdr" : "") (("filter" in calls) ? " filter" : "") (("dummynet" in calls) ? " dummynet" : "") "; token " (ourtoken == "" ? "none" : ourtoken) (skipped_lo0 ? "; pf skips lo0" : "")
    print "egress       " listed_names(outlets) "; default route " (defaultvia == "" ? "none" : "by " defaultvia)
    if (meshaddress != "") print "mesh         " (tunnel == "" ? "waiting for the mesh: no interface has " meshaddress : tunnel " (" meshaddress ")")
    print "forwarding   " (forwarding == 1 ? "on" : "off")
    if (P["fresh"] && P["wish"] == "up") print "installed    a bundle other than the one in force: start applies it"
    if (P["pending"]) print "pending      " waiting()
    print "launchd      " job_text()
    print "states       " states_text()
    for (i = 1; i <= nf; i++) print "refused      " refusal[i]
    for (i = 1; i <= nt; i++) print "problem      " problem[i]
    for (i = 1; i <= nremarks; i++) print "note         " remark[i]
    for (i = 1; i <= ntodo; i++) print "to do        " texts_of[i]
}
# What a start waits for, from the shell: seconds, the time of the rollback, and the boot session in which it began.
function waiting(w) {
    split(P["pending"], w, " ")
    if (w[2] == "-") return "a start is running, or was interrupted"
    if (w[3] != boot) return "the Mac was restarted before a start was confirmed: the next run takes it back"
    return "a start waits to be confirmed until " w[2] "; then it is rolled back, unless: manage-macos-networking.sh confirm"
}
function waiting_json(w) {
    split(P["pending"], w, " ")
    return P["pending"] ? "{\"until\":" or_null(w[2]) ",\"seconds\":" w[1] "}" : "null"
}
function plan_text(i) {
    if (P["pending"]) print "pending: " waiting()
    faults_text()
    if (!nf) print summary()
    for (i = 1; i <= nt; i++) print "problem: " problem[i]
    for (i = 1; i <= nremarks; i++) print "note: " remark[i]
    for (i = 1; i <= ntodo; i++) print texts_of[i]
    for (i = 1; i <= nf; i++) print "refused: " refusal[i]
    for (i = 1; i <= nadvice; i++) print advice[i]
}
# All changes in one line, counted by kind.
function summary(i, n, w, k, rest, out) {
    if (!no) return "nothing to change"
    n = split("make interface to create,destroy interface to remove,address address to add,unaddress address to remove,route route to add,remote route to add,unroute route to remove,pipe pipe to create,unpipe pipe to remove", w, ",")
    for (i = 1; i <= n; i++) {
        k = substr(w[i], 1, index(w[i], " ") - 1)
        out = out counted_as(many[k], substr(w[i], length(k) + 2))
        rest += many[k]
    }
    return counted_as(no, "change") (out == "" ? "" : ": " substr(out, 3)) (out != "" && no > rest ? ", " no - rest " more" : "")
}
function counted_as(n, what, w) {
    if (!n) return ""
    if (n > 1 && !sub(/^address/, "addresses", what)) { split(what, w, " "); sub(/^[a-z]+/, w[1] "s", what) }
    return (what ~ /^change/ ? "" : ", ") n " " what
}
function quoted(text, i, c, out) {
    for (i = 1; i <= length(text); i++) { c = substr(text, i, 1); out = out ((c == "\"" || c == "\\") ? "\\" c : c) }
    return "\"" out "\""
}
function texts(list, n, i, out) { for (i = 1; i <= n; i++) out = out (i > 1 ? "," : "") quoted(list[i]); return "[" out "]" }
function or_null(text) { return (text == "" || text == "-") ? "null" : quoted(text) }
function truth(yes) { return yes ? "true" : "false" }
# What all JSON answers share: refusals, findings, and the changes that are to be made.
function judged_json(i, out) {
    for (i = 1; i <= nt; i++) out = out (i > 1 ? "," : "") "{\"about\":" quoted(concerns[i]) ",\"what\":" quoted(problem[i]) "}"
    return "\"refused\":" texts(refusal, nf) ",\"findings\":[" out "],\"changes\":" texts(texts_of, ntodo)
}
function plan_json() {
    print "{\"version\":1," judged_json() ",\"advice\":" texts(advice, nadvice) ",\"notes\":" texts(remark, nremarks) ",\"pipes\":" pipes_json() ",\"waysOut\":" texts(way, ne) ",\"defaultInterface\":" or_null(defaultif) ",\"pending\":" waiting_json() ",\"faults\":" faults_json() "}"
}
function status_json(i, p, v) {
    printf "{\"version\":1,\"wish\":%s,\"healthy\":%s,\"providers\":[", or_null(P["wish"] == "none" ? "" : P["wish"]), truth(healthy)
    for (i = 1; i <= np; i++) {
        p = provider[i]
        printf "%s{\"name\":%s,\"bridge\":%s,\"kernel\":%s,\"gateway\":%s,\"network\":%s,\"state\":%s}", (i > 1 ? "," : ""), quoted(p), quoted(bridge[p]), or_null(kernel_of(p)), quoted(gateway[p] "/" gatelen[p]), quoted(network[p]), quoted(state_of_provider(p))
    }
    printf "],\"volumes\":["
    for (i = 1; i <= nv; i++) {
        v = volume[i]
        printf "%s{\"name\":%s,\"provider\":%s,\"port\":%s,\"kernel\":%s,\"address\":%s,\"localhost\":%s,\"mountPoint\":%s,\"state\":%s}", (i > 1 ? "," : ""), quoted(v), quoted(of[v]), or_null(port[v]), or_null(kernel[port[v]]), quoted(address[v]), or_null(alias[v]), or_null(mountpoint[v]), quoted(state_of_volume(v))
    }
    printf "],\"pipes\":%s,\"faults\":%s", pipes_json(), faults_json()
    printf ",\"rules\":{\"anchor\":%s,\"loaded\":%s,\"called\":{\"nat\":%s,\"rdr\":%s,\"filter\":%s,\"dummynet\":%s},\"skipsLoopback\":%s,\"token\":%s},", quoted(P["anchor"]), truth(ns > 1 && theirs == ""), truth("nat" in calls), truth("rdr" in calls), truth("filter" in calls), (("pfctl-dummynet" in seen_of) ? truth("dummynet" in calls) : "null"), truth(skipped_lo0), or_null(ourtoken)
    printf "\"job\":%s,\"states\":%s,", quoted(job_text()), states_json()
    printf "\"forwarding\":%s,\"waysOut\":%s,\"defaultInterface\":%s,\"defaultRoute\":%s,\"pending\":%s,\"installed\":%s,", truth(forwarding == 1), texts(way, ne), or_null(defaultif), or_null(defaultvia), waiting_json(), truth(!P["fresh"])
    print "\"mesh\":" mesh_json() "," judged_json() ",\"advice\":" texts(advice, nadvice) ",\"notes\":" texts(remark, nremarks) "}"
}
' "$@" 3>&2 2>/dev/null
}

# ---- words and exits

# Set when launchd runs reconcile: launchd appends what it prints to the log, and what matters is logged anyway.
QUIET=
# On a terminal, changes are numbered to show the progress.
TERMINAL=
if test -t 1; then TERMINAL=yes; fi
say() { if test -z "$QUIET"; then printf '%s\n' "$*"; fi; }
warn() { if test -z "$QUIET"; then printf 'nixvol: %s\n' "$*" >&2; fi; }

MUTE=
# The time of the log's lines is read once after each look at the Mac: a process for each line would double a long run.
STAMP=
log() {
    if test -z "$STAMP"; then STAMP=$(date '+%Y-%m-%dT%H:%M:%SZ') || STAMP='-'; fi
    if test -z "$MUTE" && ! printf '%s %s: %s\n' "$STAMP" "$COMMAND" "$*" 2>/dev/null >>"$LOG"; then
        MUTE=yes
        cannot_write "$LOG"
    fi
}

# Reports a message to the caller and to the log.
report() {
    warn "$*"
    log "$*"
}

tell() { printf '%s' "$1" | while IFS= read -r line; do report "$line"; done; }
warn_all() { printf '%s' "$1" | while IFS= read -r line; do warn "$line"; done; }

failed() {
    report "failed: $*"
    return 1
}

# Calls the function $1 with each line of the text $2; stops at the first call that fails.
each_line() {
    IFS=$NEWLINE
    set -f
    for line in $2; do
        unset IFS
        set +f
        "$1" "$line" || return 1
    done
    unset IFS
    set +f
}

# Every write is checked, and a failed one reported. A change whose record (wish, ledger, rules) cannot be written is
# not made; only removals go ahead.
cannot_write() {
    warn "cannot write $1: the disk is full, or does not let us; hint: df tells which disk is full"
    return 1
}

# Replaces the content of a file in the state directory by rename: a write that fails leaves the earlier content.
put() {
    if printf '%s\n' "$2" 2>/dev/null >"$STATE/$1.new" && mv -f "$STATE/$1.new" "$STATE/$1"; then return 0; fi
    cannot_write "$STATE/$1"
}

wrong_use() {
    warn "$1"
    warn "try: manage-macos-networking.sh help"
    exit 2
}

need_root() {
    uid=$(id -u) || uid=unknown
    if test "$uid" != 0; then
        warn "this needs root: run it with sudo"
        exit 77
    fi
}

# ---- one at a time
# The run that creates `lock` holds it. If that run dies, the lock passes to the run that creates `lock.PID`, with the
# PID of the dead one; if this one dies too, to the run that creates `lock.` with its PID, and so on. The files are hard
# links to a file that already has its content (PID and start time): ln either creates one, complete, or fails if it
# exists.

LOCKED=
STOPPED=
# Set once the owners and modes of our files have been checked.
SAFE=

# Prints the start time of the process $1, from the output of `ps` in PROCESSES. It distinguishes the process from a
# later one with the same PID.
began() {
    IFS=$NEWLINE
    for line in $PROCESSES; do
        unset IFS
        # shellcheck disable=SC2086 # words
        set -- "$1" $line
        if test "$1" = "${2:-}"; then
            shift 2
            printf '%s\n' "$*"
            return
        fi
    done
    unset IFS
}

# Whether the recorded holder of the lock is alive. If `ps` does not even list this process, its output proves nothing,
# and the holder counts as alive.
lives() {
    if test "$HOLDER$TAB$SINCE" = "$$$TAB$OWN"; then return 0; fi
    PROCESSES=$(ps -o pid= -o lstart= -p "$$,$HOLDER" 2>/dev/null) || :
    if test -z "$(began "$$")"; then return 0; fi
    # shellcheck disable=SC2086 # words
    since=$(set -- $SINCE && printf '%s\n' "$*")
    now=$(began "$HOLDER")
    test -n "$now" && { test -z "$since" || test "$since" = "$now"; }
}

# True if a live process holds the lock; otherwise FREE is the link to create. A chain of 100 dead holders counts as
# held.
find_holder() {
    FREE=$STATE/lock
    links=0
    while test -e "$FREE"; do
        HOLDER=
        SINCE=
        IFS=$TAB read -r HOLDER SINCE 2>/dev/null <"$FREE" || :
        case $HOLDER in
            '' | *[!0-9]*) HOLDER=none ;;
            *) if lives; then return 0; fi ;;
        esac
        FREE=$STATE/lock.$HOLDER
        links=$((links + 1))
        if test "$links" -gt 99; then return 0; fi
    done
    HOLDER=
    return 1
}

try_lock() {
    if ! test -d "$STATE" && ! mkdir -p "$STATE" 2>/dev/null; then
        cannot_write "$STATE" || exit 1
    fi
    own=$STATE/lock.$$.own
    if ! test -e "$own" && ! printf '%s\t%s\n' "$$" "$OWN" 2>/dev/null >"$own"; then
        # A cleanup of another run may have removed the directory: then try again.
        if test -d "$STATE"; then
            rm -f "$own"
            cannot_write "$own" || exit 1
        fi
        return 1
    fi
    if find_holder || ! ln "$own" "$FREE" 2>/dev/null; then return 1; fi
    made=$FREE
    if find_holder && test "$HOLDER" = "$$"; then return 0; fi
    # Our link does not continue the chain that starts at `lock`: the run that held the lock released it meanwhile, and
    # the whole chain with it. Remove the link and try again.
    rm -f "$made"
    return 1
}

take_lock() {
    PROCESSES=$(ps -o pid= -o lstart= -p "$$" 2>/dev/null) && OWN=$(began "$$") || OWN=
    if test -z "$OWN"; then
        warn "ps does not tell when this process began"
        exit 1
    fi
    waited=0
    until try_lock; do
        if test "$waited" -ge "$LOCK_SECONDS"; then
            rm -f "$own"
            if test -z "$HOLDER"; then cannot_write "$FREE" || exit 1; fi
            warn "another run (process $HOLDER) has been at work for $LOCK_SECONDS seconds: try again when it is done"
            exit 4
        fi
        waited=$((waited + 1))
        sleep 1
    done
    LOCKED=yes
    trap 'release_lock' EXIT
    trap 'STOPPED=yes' HUP INT TERM
}

# `lock` is removed first: while it exists the chain still leads to this process, and no other run can take the lock.
release_lock() {
    if test -n "$LOCKED"; then
        LOCKED=
        rm -f "$STATE/lock" "$STATE"/lock.* || cannot_write "$STATE/lock"
    fi
}

# ---- the wish

WISH=
read_wish() {
    WISH=
    if test -f "$STATE/wish"; then
        IFS= read -r WISH <"$STATE/wish" || :
    fi
    case $WISH in
        up | down) ;;
        *) WISH=none ;;
    esac
}

write_wish() {
    if test "$1" = none; then
        rm -f "$STATE/wish" || return 1
    elif test "$1" != "$WISH"; then
        put wish "$1" || return 1
    fi
    WISH=$1
}

# ---- bundles
# `applied` is a copy of the bundle that the last completed start put in force; reconcile maintains it. `starting` is
# the copy that a start is working on, or that waits for its confirmation; `pending` records what that start waits for.

# BUNDLE: the copy that the Mac is compared with; empty for the installed bundle. A bundle begins with the records that
# the shell needs: hosts file and anchor (HOSTS, ANCHOR), whether it has pipes (PIPED), mount points (POINTS), and the
# address of this Mac in the tunnel to the others (MESH).
BUNDLE=
PIPED=
POINTS=
MESH=
measure_by() {
    BUNDLE=$1
    PIPED=
    POINTS=
    MESH=
    if test -n "$1"; then
        while IFS= read -r line && one_of_shell "$line"; do :; done <"$1"
        return
    fi
    one_of_shell "$PLACES"
    each_line one_of_shell "$TABLE"
    return 0
}

one_of_shell() {
    case $1 in
        "places$TAB"*)
            HOSTS=${1##*"$TAB"}
            ANCHOR=${1#*"$TAB"}
            ANCHOR=${ANCHOR%%"$TAB"*}
            if test "$HOSTS" = -; then HOSTS=; fi
            ;;
        "pipe$TAB"*) PIPED=yes ;;
        "mount$TAB"*)
            POINTS=$POINTS${1#mount"$TAB"*"$TAB"}$NEWLINE
            ;;
        "mesh$TAB"*)
            MESH=${1#*"$TAB"}
            MESH=${MESH%%"$TAB"*}
            ;;
        *) return 1 ;;
    esac
}

# The rules that belong to the table: the installed file, or, before a switch has installed it, the one next to this
# program (see plan_switch).
RULES=$BASE/networking/pf/anchor.conf

# Prints the installed bundle in the format of a copy.
installed() {
    printf '%s\n%s' "$PLACES" "$TABLE" || return 1
    if test -f "$RULES"; then cat "$RULES"; fi
}

# FORCE: the copy that is in force, or that a start was putting in force: `starting` takes precedence over `applied`.
in_force() {
    FORCE=
    if test -f "$STATE/applied"; then FORCE=$STATE/applied; fi
    if test -f "$STATE/starting"; then FORCE=$STATE/starting; fi
}

measure_by_force() {
    in_force
    measure_by "$FORCE"
}

# ---- looking

# What the engine reads about the Mac; `see` has the command for each name.
THINGS="ifconfig netstat-rn sysctl pfctl-references pfctl-sn pfctl-sr pfctl-interfaces pfctl-anchor-sn pfctl-anchor-sr"
# The same for dummynet, read only if the network has pipes or may still have some:
PIPE_THINGS="dnctl-list pfctl-dummynet pfctl-anchor-dummynet"

see() {
    case $1 in
        ls-lden) owners ;;
        ifconfig) ifconfig -a ;;
        netstat-rn) netstat -rn -f inet ;;
        sysctl) sysctl -n net.inet.ip.forwarding kern.bootsessionuuid ;;
        pfctl-references) pfctl -s References 2>/dev/null ;;
        pfctl-sn) pfctl -s nat 2>/dev/null ;;
        pfctl-sr) pfctl -s rules 2>/dev/null ;;
        pfctl-interfaces) pfctl -v -s Interfaces -i lo0 2>/dev/null ;;
        pfctl-anchor-sn) pfctl -a "$ANCHOR" -s nat 2>/dev/null ;;
        pfctl-anchor-sr) pfctl -a "$ANCHOR" -s rules 2>/dev/null ;;
        pfctl-anchor-tables) tables ;;
        pfctl-faults) loaded "$FAULTS" ;;
        clock) date +%s ;;
        pfctl-others) others ;;
        families) printf '%s\n' "$FAMILIES" ;;
        # Where pf does not tell its counters, they are left out.
        pfctl-labels) labels || : ;;
        pfctl-info) pfctl -s info 2>/dev/null ;;
        pfctl-memory) pfctl -s memory 2>/dev/null ;;
        launchctl-print) job ;;
        dnctl-list) dnctl list 2>/dev/null ;;
        pfctl-dummynet) pfctl -s dummynet 2>/dev/null ;;
        pfctl-anchor-dummynet) pfctl -a "$ANCHOR" -s dummynet 2>/dev/null ;;
        mount) mounts ;;
        wireguard) wireguard ;;
        *) return 1 ;;
    esac </dev/null
}

# The outputs are separated by a random line that no program can guess and print, followed by the name of the next
# output.
MARK=
mark() { printf '%s\n%s\n' "$MARK" "$1"; }

see_all() {
    for thing in "$@"; do
        mark "$thing"
        # A command that failed may have left a partial line: end it.
        see "$thing" || { printf '\n' && mark "failed$TAB$thing"; }
    done
}

# Whether pipes are examined: the bundle has some, or the ledger may list some.
has_pipes() { test -n "$PIPED" || test -e "$STATE/pipes"; }

# Prints the rules of an anchor as pf prints them: nat, `--`, filter, and, if there are any, `--` and dummynet. The
# output is saved after a load, and compared later.
loaded() {
    if ! pfctl -a "$1" -s nat 2>/dev/null </dev/null || ! printf '%s\n' -- || ! pfctl -a "$1" -s rules 2>/dev/null </dev/null; then return 1; fi
    if ! has_pipes; then return 0; fi
    named=$(pfctl -a "$1" -s dummynet 2>/dev/null </dev/null) || return 1
    if test -n "$named"; then printf '%s\n' -- "$named"; fi
}

# The tables of our anchor: the name of each, followed by its entries.
tables() {
    names=$(pfctl -a "$ANCHOR" -s Tables 2>/dev/null) || return 1
    for name in $names; do
        if ! entries=$(pfctl -a "$ANCHOR" -t "$name" -T show 2>/dev/null); then
            # Another run may have removed the table since it was listed. If it is still listed, this is a failure.
            if ! now=$(pfctl -a "$ANCHOR" -s Tables 2>/dev/null) || is_line "$name" "$now"; then return 1; fi
            continue
        fi
        printf '%s\n' "$name"
        if test -n "$entries"; then printf '%s\n' "$entries"; fi
    done
}

is_line() {
    case $NEWLINE$2$NEWLINE in
        *"$NEWLINE$1$NEWLINE"*) return 0 ;;
        *) return 1 ;;
    esac
}

# Device and inode number of each mount point and of its parent directory. The output names only declared paths; `mount`
# would print names that other users chose. `/` comes last and proves that stat reached the end. The engine learns from
# the error message why a path has no line: it does not exist, or it cannot be examined.
mounts() {
    set -f
    IFS=$NEWLINE
    set --
    for point in $POINTS; do set -- "$@" "$point/." "$point/.."; done
    unset IFS
    set +f
    stat -f '%d %i %N' "$@" / 2>&1 || test "$?" = 1
}

# What WireGuard reports about the tunnel to the other Macs, without its keys that are secret. wireguard-go answers at a
# socket that only root can open, named after the interface; `wg` asks there too, but is no part of macOS. The tunnel may
# be absent, or made by a program that has no such socket: then nothing is printed.
wireguard() {
    name=$(ifconfig -a | awk -v address="$MESH" '
        /^[^ \t]/ { name = $1; sub(/:.*/, "", name) }
        $1 == "inet" && $2 == address && name != "lo0" { print name; exit }') || return 0
    case $name in '' | *[!A-Za-z0-9_]*) return 0 ;; esac
    printf 'get=1\n\n' | nc -U -w 2 "/var/run/wireguard/$name.sock" 2>/dev/null |
        awk '/^(listen_port|public_key|endpoint|last_handshake_time_sec|allowed_ip|errno)=/' || :
}

# The rules of every other anchor, below its name. An anchor that was removed meanwhile has no rules; one that exists
# and cannot be read is reported as `unread`.
others() {
    names=$(pfctl -v -s Anchors 2>/dev/null) || return 1
    each_line other "$names"
}

other() {
    path=${1#"${1%%[! ]*}"}
    if test "$path" = "$ANCHOR"; then return 0; fi
    printf 'anchor\t%s\n' "$path"
    for what in nat rules; do
        if pfctl -a "$path" -s "$what" 2>/dev/null; then continue; fi
        now=$(pfctl -v -s Anchors 2>/dev/null) || return 1
        if is_line "$1" "$now"; then printf '\nunread\t%s\n' "$path"; fi
    done
}

# Owner, mode and access list of everything that root relies on here: our files, and every directory above them, both on
# the declared path and on the path with symbolic links resolved.
owners() {
    paths=$(
        for at in "$BASE/networking/pf" "$STATE" "${LOG%/*}" "${HOSTS%/*}"; do
            while test -n "$at" && ! test -d "$at"; do at=${at%/*}; done
            way "$at"
            real=$(cd -P "${at:-/}" && pwd -P) || exit 1
            if test "$real" != "$at"; then way "$real"; fi
        done
        for at in "$SELF" "$BASE/networking/manage-macos-networking.sh" "$BASE/networking/pf/anchor.conf" \
            "$STATE" "$STATE"/* "$LOG" "$HOSTS"; do
            if test -e "$at" || test -L "$at"; then printf '%s\n' "$at"; fi
        done
    ) || return 1
    set -f
    IFS=$NEWLINE
    # shellcheck disable=SC2086 # one path a line
    set -- $paths
    unset IFS
    set +f
    # ls exits with 1 for a file that another run has just removed, too; the engine tells the cases apart by the
    # message.
    ls -lden "$@" 2>&1 || test "$?" = 1
}

# Prints the path $1 and every directory above it.
way() {
    printf '/\n'
    on=$1
    while test -n "$on" && test "$on" != /; do
        printf '%s\n' "$on"
        on=${on%/*}
    done
}

# Set once this run has changed something: from then on a difference is not attributed to another program.
ACTED=

# Prints everything that the engine needs. $1: the question; $2: the wish (up or down) that the Mac is compared with.
observe() {
    mark set
    printf '%s\t%s\n' ask "$1" target "$2" base "$BASE" state "$STATE" hosts "$HOSTS" log "$LOG" self "$SELF" mine "$MINE" \
        wish "$WISH" anchor "$ANCHOR" job "$JOB" rules "$RULES" acted "$ACTED" json "$JSON" fresh "$FRESH" \
        pending "$PENDING" writes "$LOCKED" faults "$FAULTS" act "$ACT" one "$ONE" other "$OTHER" lasts "${LASTS:-0}" \
        deadline "$DEADLINE" until "$UNTIL" delay "$DELAY" loss "$LOSS" kbit "$KBIT" tag "$TAG"
    if test "$1" = form; then SAFE=yes; fi
    if test -z "$SAFE"; then see_all ls-lden; fi
    if test "$1" = owners; then
        mark end
        return
    fi
    if test -z "$BUNDLE"; then
        mark table
        installed
    fi
    case $1 in
        form)
            mark end
            return
            ;;
        faults)
            see_all sysctl clock pfctl-faults
            if test -n "$ACT"; then see_all pfctl-sr; fi
            if test "$ACT" = slow; then see_all pfctl-sn pfctl-others; fi
            # shellcheck disable=SC2086 # words
            if has_pipes; then see_all $PIPE_THINGS; elif test "$ACT" = slow; then see_all dnctl-list pfctl-dummynet; fi
            mark end
            return
            ;;
        status | plan | test) if has_faults; then see_all clock pfctl-faults; fi ;;
        *) ;;
    esac
    case $1 in
        status) if test -n "$MESH"; then see_all clock wireguard; fi ;;
        plan | start | switch) if test -n "$MESH"; then see_all wireguard; fi ;;
        *) ;;
    esac
    # shellcheck disable=SC2086 # words
    see_all $THINGS
    # shellcheck disable=SC2086 # words
    if has_pipes; then see_all $PIPE_THINGS; fi
    # Read only where somebody waits for the answer: the job, other anchors, the counters of pf, and the contents of our
    # tables, which are `const` (pfctl -T refuses to change them).
    case $1 in
        status | plan) see_all launchctl-print pfctl-anchor-tables pfctl-others pfctl-info pfctl-memory ;;
        start)
            see_all pfctl-anchor-tables
            # Once it has changed something it looks at its own work: what others do was judged before. Whether they use
            # `route-to` decides on pipes.
            if test -z "$ACTED"; then see_all launchctl-print pfctl-info pfctl-memory; fi
            if test -z "$ACTED" || has_pipes; then see_all pfctl-others; fi
            ;;
        # Without the launchd job: nix-darwin installs it only after these checks.
        switch) see_all pfctl-anchor-tables pfctl-others pfctl-info pfctl-memory ;;
        test) see_all pfctl-anchor-tables ;;
        *) ;;
    esac
    if test -n "$POINTS"; then see_all mount; fi
    if test "$JSON" = 2; then see_all families pfctl-labels; fi
    mark end
}

# Observes the Mac and prints the engine's answer. $1 and $2 are those of `observe`.
ask() {
    while :; do
        case $MARK in
            ????????????????*) break ;;
            *) IFS= read -r MARK </dev/urandom || return 1 ;;
        esac
    done
    { printf '%s\n' "$MARK" && observe "$@"; } | engine
}

# The last answer of the engine, and what was read from it.
ANSWER=
CHANGES=
UNWRITTEN=
BOOT=
WRONG=

# Asks the engine and reads its answer into variables: REFUSED (why nothing may be changed), PROBLEMS, CAUTIONS (which
# do not prevent a start), CAUSES (what changed from outside), CHANGES (how many changes are to be made), DEFAULT (the
# default route), ADDRESSED (the interfaces with an address), PIPES (whether the ledger lists any), UNWRITTEN (the
# engine began to write its files and could not finish). Fails if the Mac could not be examined or the files not be
# written.
# If other users could have modified what root relies on, exits with 3 and writes nothing, not even to the log.
look() {
    REFUSED=
    ADVICE=
    CAUTIONS=
    SUMMARY=
    PROBLEMS=
    CHANGES=
    DEFAULT=
    ADDRESSED=
    PIPES=
    UNSAFE=
    CAUSES=
    UNWRITTEN=
    NAMES=
    DOES=
    WRONG=
    STAMP=
    # Messages of the commands are discarded: the engine names the command that failed.
    ANSWER=$(ask "$@" 2>/dev/null)
    status=$?
    each_line read_answer "$ANSWER"
    if test -n "$UNSAFE"; then refuse_unsafe; fi
    if test "$status" -ne 0; then CHANGES=; fi
    if test -n "$CHANGES"; then
        UNWRITTEN=
    elif test -n "$UNWRITTEN"; then
        cannot_write "$STATE/ledger.new" || PROBLEMS=
    elif test -z "$PROBLEMS$REFUSED$WRONG"; then
        PROBLEMS="could not look at the Mac: a command failed; try again$NEWLINE"
    fi
    test -n "$CHANGES"
}

read_answer() {
    text=${1#*"$TAB"}
    case ${1%%"$TAB"*} in
        safe) SAFE=$text ;;
        unsafe) UNSAFE=$UNSAFE$text$NEWLINE ;;
        refused) REFUSED=$REFUSED$text$NEWLINE ;;
        cause) CAUSES=$CAUSES$text$NEWLINE ;;
        problem) PROBLEMS=$PROBLEMS$text$NEWLINE ;;
        caution) CAUTIONS=$CAUTIONS$text$NEWLINE ;;
        advice) ADVICE=$ADVICE$text$NEWLINE ;;
        summary) SUMMARY=$text ;;
        name) NAMES=$NAMES$text$NEWLINE ;;
        changes) CHANGES=$text ;;
        default) DEFAULT=$text ;;
        addressed) ADDRESSED=$text ;;
        pipes) PIPES=$text ;;
        writes) UNWRITTEN=$text ;;
        does) DOES=$text ;;
        boot) BOOT=$text ;;
        wrong) WRONG=$WRONG$text$NEWLINE ;;
        *) ;;
    esac
}

# Checks owners and modes alone, before anything is written. Exits if they are unsafe or cannot be read.
be_safe() {
    look owners - || :
    if test -z "$SAFE"; then
        warn "could not look at the owners of our files: try again"
        exit 1
    fi
}

refuse_unsafe() {
    QUIET=
    warn_all "$UNSAFE"
    warn "refused: nothing was changed"
    exit 3
}

# Whether macOS has at least one name server.
has_dns() {
    resolvers=$(scutil --dns) || return 1
    case $resolvers in
        *'nameserver['*) return 0 ;;
        *) return 1 ;;
    esac
}

# ---- changing

# Appends an entry to the ledger. Every entry ends in a field `.`: a line without it was cut off, and is ignored.
# TORN: a newline after a failed write, so that the next entry begins on a line of its own.
TORN=
note() {
    line=$TORN
    for word in "$@"; do line=$line$word$TAB; done
    if printf '%s.\n' "$line" 2>/dev/null >>"$STATE/ledger"; then
        TORN=
    else
        TORN=$NEWLINE
        cannot_write "$STATE/ledger"
    fi
}

# Runs a command whose output is reported only if it fails.
quietly() {
    if words=$("$@" 2>&1 </dev/null); then
        case $words in
            # route exits with 0 even when it fails.
            *'writing to routing socket'*) ;;
            *) return 0 ;;
        esac
    fi
    failed "$*: $words"
}

# Makes one change; the engine supplies its name and arguments. What is created is recorded before, what is removed
# after: if the run dies in between, the ledger lists too much, never too little.
change() {
    case $1 in
        keep) ;;
        rules) load_rules ;;
        unrules)
            if ! unload_rules "$2"; then
                HELD=yes
                return 1
            fi
            ;;
        pipe)
            if ! make_pipe "$2" "$3" "$4"; then
                LACKING=yes
                return 1
            fi
            ;;
        unpipe) remove_pipe "$2" ;;
        token) take_token ;;
        untoken) quietly pfctl -X "$2" && note gone token "$2" ;;
        forwarding) note forwarding "$2" "$3" && quietly sysctl -w net.inet.ip.forwarding=1 ;;
        unforwarding) quietly sysctl -w "net.inet.ip.forwarding=$2" && note gone forwarding ;;
        make) note want if "$2" && make_interface "$2" && note have if "$2" ;;
        destroy) quietly ifconfig "$2" destroy && note gone if "$2" ;;
        up) quietly ifconfig "$2" up ;;
        peer) quietly ifconfig "$2" peer "$3" ;;
        unpeer) quietly ifconfig "$2" -peer ;;
        join) quietly ifconfig "$2" addm "$3" ;;
        leave) quietly ifconfig "$2" deletem "$3" ;;
        address) note have address "$2" "$3" && quietly ifconfig "$2" alias "$3" netmask "$4" ;;
        unaddress) quietly ifconfig "$2" -alias "$3" && note gone address "$2" "$3" ;;
        route) note have route "$2" "$3" && quietly route -n add -net "$2" -interface "$3" ;;
        # wg-quick may have added it meanwhile: the next look decides.
        remote) note have route "$2" "$3" && { quietly route -n add -net "$2" -interface "$3" || :; } ;;
        # An interface that is gone has no name any more.
        unroute)
            if test "$3" = -; then
                quietly route -n delete -net "$2"
            else
                quietly route -n delete -net "$2" -interface "$3" && note gone route "$2" "$3"
            fi
            ;;
        forget) quietly pfctl -k "$2" && quietly pfctl -k 0.0.0.0/0 -k "$2" ;;
        hosts) note have hosts "$2" && write_hosts "$2" "$HOSTS_BEGIN$NEWLINE$NAMES$HOSTS_END" ;;
        unhosts)
            write_hosts "$2" '' || return 1
            # A hosts file that was created for the names alone is removed with them.
            if test "$3" = ours && ! test -s "$2"; then rm -f "$2" || return 1; fi
            note gone hosts "$2" && note gone hosts-file "$2"
            ;;
        *)
            warn "the engine asked for an unknown change: $1"
            return 1
            ;;
    esac
}

# macOS may still list an interface for a moment after it was destroyed, and refuses its name until then.
make_interface() {
    tries=5
    while ! words=$(ifconfig "$1" create up 2>&1 </dev/null); do
        case $words in
            *'File exists'* | *'Resource busy'*) tries=$((tries - 1)) ;;
            *) tries=0 ;;
        esac
        if test "$tries" -le 0; then
            failed "ifconfig $1 create up: $words"
            return
        fi
        sleep 1
    done
}

# Loads the rules in four steps: a dry run; the load, which pf does completely or not at all; an end to the states that
# the new rules no longer permit; a record of what pf then prints. Until all of it is done the file is `rules.loading`:
# if the run dies before, the next one loads again.
# LACKING: a pipe could not be created. pf loses the packets that a rule sends into a missing pipe, so the rules are
# then loaded without the dummynet lines, that is, without conditions; the next look reports that they are not as
# declared.
LACKING=
load_rules() {
    if test -n "$UNWRITTEN"; then return 1; fi
    if test -n "$LACKING"; then
        awk '!/^(no )?dummynet /' "$STATE/rules.new" >"$STATE/rules.less" && mv -f "$STATE/rules.less" "$STATE/rules.new" || return 1
    fi
    check_rules &&
        note have anchor "$ANCHOR" &&
        mv -f "$STATE/rules.new" "$STATE/rules.loading" &&
        quietly pfctl -a "$ANCHOR" -f "$STATE/rules.loading" &&
        end_connections &&
        seen=$(loaded "$ANCHOR") && put rules.seen "$BOOT$NEWLINE$seen" &&
        mv -f "$STATE/rules.loading" "$STATE/rules.conf"
}

# A dry run. If this pfctl does not support `extfilter`, the rules are loaded without it and their first line records
# that: the engine does not ask for it again until the Mac is restarted.
check_rules() {
    if words=$(pfctl -n -a "$ANCHOR" -f "$STATE/rules.new" 2>&1 </dev/null); then return 0; fi
    IFS= read -r first <"$STATE/rules.new" || return 1
    case $first:$words in
        *' nat=apd:'*'yntax error'*) ;;
        *)
            failed "pfctl -n: $words"
            return
            ;;
    esac
    awk 'NR == 1 { sub(/nat=apd$/, "nat=plain") } /^nat on / { sub(/ extfilter apd$/, "") } { print }' "$STATE/rules.new" \
        2>/dev/null >"$STATE/rules.less" && mv -f "$STATE/rules.less" "$STATE/rules.new" || cannot_write "$STATE/rules.less" || return 1
    log "this pfctl may not support extfilter: trying without"
    quietly pfctl -n -a "$ANCHOR" -f "$STATE/rules.new"
}

# Kills the pf states between the pairs of hosts or networks that the engine lists: states outlive the rules that
# created them.
end_connections() { each_line end_connection "$ANSWER"; }

end_connection() {
    case $1 in
        "end$TAB"*)
            pair=${1#*"$TAB"}
            quietly pfctl -k "${pair%"$TAB"*}" -k "${pair#*"$TAB"}"
            ;;
        *) ;;
    esac
}

empty_anchor() {
    if has_pipes && ! unload_dummynet "$1"; then return 1; fi
    quietly pfctl -a "$1" -F all
}

unload_rules() {
    empty_anchor "$1" || return 1
    if test "$1" = "$ANCHOR"; then rm -f "$STATE/rules.conf" "$STATE/rules.seen" "$STATE/rules.loading" || return 1; fi
    note gone anchor "$1"
}

# It is not known whether `pfctl -F all` flushes dummynet rules too. Loading an empty ruleset does; the result is
# checked.
unload_dummynet() {
    quietly pfctl -a "$1" -f /dev/null || return 1
    if named=$(pfctl -a "$1" -s dummynet 2>/dev/null </dev/null) && test -z "$named"; then return 0; fi
    failed "$1 still holds dummynet rules"
}

# Configures the pipe $1 completely, because dnctl sets what it is not given to 0. $2: the delay in ms; $3: the share of
# packets that is lost, a comma, the bandwidth in kbit/s (0: unlimited).
# The file `pipes` records that pipes may exist, even if a later bundle declares none.
make_pipe() {
    rate=${3#*,}
    if test "$rate" != 0; then rate=${rate}Kbit/s; fi
    printf '' >"$STATE/pipes" && note want pipe "$1" &&
        quietly dnctl pipe "$1" config delay "$2" plr "${3%,*}" bw "$rate" && note have pipe "$1"
}

# pf loses the packets that a rule sends into a missing pipe: a pipe is removed only when no rule of ours names it.
# HELD: rules could not be unloaded, and may name any pipe.
HELD=
remove_pipe() {
    if test -z "$HELD" && named=$(see pfctl-anchor-dummynet && { ! has_faults || pfctl -a "$FAULTS" -s dummynet 2>/dev/null </dev/null; }); then
        case $named$NEWLINE in
            *" pipe $1"[!0-9]*) ;;
            *)
                quietly dnctl pipe delete "$1" && note gone pipe "$1"
                return
                ;;
        esac
    fi
    failed "pipe $1 is kept, because a rule may still use it"
}

# Enables pf and takes a token; pf stays enabled while any token is held. The existing tokens and the PID of the process
# that asks for a new one are on disk before it asks: if the run dies before it records the token, the next one finds it
# by that PID.
take_token() {
    note token-before "$TOKENS" || return 1
    words=$(sh -c 'printf "token-pid\t%s\t.\n" "$$" >>"$1" && exec pfctl -E' - "$STATE/ledger" 2>&1 </dev/null)
    status=$?
    token=${words##*Token : }
    token=${token%%[!0-9]*}
    if test "$status" -ne 0 || test -z "$token"; then
        TORN=$NEWLINE
        failed "pfctl -E: $words"
        return
    fi
    note token "$token"
}

HOSTS_BEGIN='# nixvol-net: begin'
HOSTS_END='# nixvol-net: end'

# Writes the block of names $2 into the hosts file $1, replacing an earlier block. The file is rewritten in place, so
# that inode, owner and mode stay. The new content (hosts.pending) and its path (hosts.place) are first saved in the
# state directory: a write that was interrupted is completed by the next run.
write_hosts() {
    # Complete an interrupted write first: the new content must not be derived from a truncated file.
    mend_hosts || return 1
    if ! test -e "$1"; then
        if test -z "$2"; then return 0; fi
        note have hosts-file "$1" && (umask 022 && : >"$1") || return 1
    fi
    end=$(tail -c 1 "$1") || return 1
    hosts_text "$1" "$2" >"$STATE/hosts.new" || cannot_write "$STATE/hosts.new" || return 1
    put hosts.place "$1" && mv -f "$STATE/hosts.new" "$STATE/hosts.pending" && finish_hosts "$1"
}

# Prints the hosts file $1 with the block $2, which may be empty, in place of the first block. Every other byte stays: a
# line inside a block that does not have the form of our entries is kept. `end` is empty if the file ends in a newline.
hosts_text() {
    printf '%s' "$2" | awk -v b="$HOSTS_BEGIN" -v e="$HOSTS_END" -v torn="${end:+yes}" '
        function say(text) { printf "%s%s", (said ? "\n" : ""), text; said = 1 }
        function place(i) { for (i = 1; i <= n; i++) say(block[i]); n = 0 }
        part == 1 { block[++n] = $0; next }
        part == 2 { if ($0 == b || $0 == e) marked = 1; next }
        # Without a block and without a final newline, the new block goes first, so that no other byte changes.
        !marked && torn { place() }
        { last = 0 }
        $0 == b { inside = 1; place(); next }
        $0 == e { inside = 0; next }
        inside && /^[0-9.]+\t[^ \t]+\.nixvol [^ \t]+\.nixvol$/ { next }
        { say($0); last = 1 }
        END { place(); if (said && !(last && torn)) print "" }' part=1 - part=2 "$1" part=3 "$1"
}

finish_hosts() {
    cat "$STATE/hosts.pending" >"$1" || cannot_write "$1" || return 1
    rm -f "$STATE/hosts.pending" "$STATE/hosts.place"
}

# Completes an interrupted write: if the hosts file is a beginning of the pending content, that content is written
# again. If not, somebody has edited the file since, and the pending content is discarded.
mend_hosts() {
    if ! test -f "$STATE/hosts.pending"; then return 0; fi
    to=$HOSTS
    if test -f "$STATE/hosts.place"; then IFS= read -r to <"$STATE/hosts.place" || return 1; fi
    if ! test -f "$to"; then (umask 022 && : >"$to") || cannot_write "$to" || return 1; fi
    size=$(wc -c <"$to") || return 1
    size=$((size))
    if test "$size" -eq 0 || head -c "$size" "$STATE/hosts.pending" | cmp -s - "$to"; then
        finish_hosts "$to"
    else
        rm -f "$STATE/hosts.pending" "$STATE/hosts.place"
    fi
}

# Makes the changes that the engine listed. $1: `strict` stops at the first failure, `lenient` goes on.
apply() {
    if test -z "$UNWRITTEN"; then
        mv -f "$STATE/names.new" "$STATE/names" && mv -f "$STATE/ledger.new" "$STATE/ledger" || return 1
    elif test "$1" = strict; then
        return 1
    else
        # On a full disk the removals go ahead all the same: the ledger then lists more than there is.
        TORN=$NEWLINE
    fi
    ACTED=yes
    HELD=
    LACKING=
    BOOT=
    TOKENS=
    failures=0
    done=0
    IFS=$NEWLINE
    set -f
    for line in $ANSWER; do
        case $line in
            "do$TAB"*) ;;
            *) continue ;;
        esac
        IFS=$TAB
        set -f
        # shellcheck disable=SC2086 # the fields
        set -- "$1" $line
        unset IFS
        set +f
        case $3 in
            boot) BOOT=$4 ;;
            tokens) TOKENS=$4 ;;
            *)
                if test -n "$STOPPED"; then
                    warn "interrupted"
                    return 1
                fi
                done=$((done + 1))
                if change "$3" "$4" "$5" "$6"; then
                    say "${TERMINAL:+[$done/${CHANGES:-?}] }$7"
                    log "$7"
                else
                    failures=$((failures + 1))
                    if test "$1" = strict; then return 1; fi
                fi
                ;;
        esac
    done
    unset IFS
    set +f
    test "$failures" -eq 0
}

# Removes the file that says that pipes may exist, once the ledger lists none.
forget_pipes() { if test -z "$PIPES" && test -e "$STATE/pipes"; then rm -f "$STATE/pipes"; fi; }

# Brings the faults up to date, then looks until nothing is left to change, at most LOOKS times, a second apart.
settle() {
    looks=$LOOKS
    if ! mend_faults "$2"; then return 1; fi
    while :; do
        if look "$@" && test "$CHANGES" = 0; then
            forget_pipes || return 1
            # Mark the ledger as complete: what is missing later was removed by another program. Without the mark the
            # cause is reported as an interrupted run; the repair is the same.
            if test -f "$STATE/ledger"; then note 'done' || :; fi
            return 0
        fi
        looks=$((looks - 1))
        if test "$looks" -le 0; then return 1; fi
        sleep 1
    done
}

# Makes all changes that can be made, and what is then left once more: macOS may need a moment in between.
converge() {
    rounds=2
    while test "$rounds" -gt 0 && test -z "$STOPPED"; do
        rounds=$((rounds - 1))
        if apply lenient && settle "$@"; then return 0; fi
        # A hosts file that this run failed to write completely may look as if nothing were left to do.
        if ! mend_hosts || ! { look "$@" || test -n "$UNWRITTEN"; }; then return 1; fi
        if test "$CHANGES" = 0; then rounds=0; fi
    done
    if test "$CHANGES" != 0 || test -n "$STOPPED"; then return 1; fi
    # The network is complete; what could not be put in force is a partition or a slowed path.
    if test -f "$STATE/ledger"; then note 'done' || :; fi
}

# ---- faults: partitions and slow paths, until when
# `faults` records what was requested, and is in place before pf is changed. `faults.seen` is written last: the rules
# that were loaded, and how pf printed them. After a run that died in between, reconcile loads the rules again.

# pf evaluates the child anchors of com.apple in the order of their names: this one before ours.
FAULTS=com.apple/249.nixvol-faults
FAULT_FILES="faults faults.rules faults.seen"

has_faults() { test -e "$STATE/faults"; }

# Loads the faults that were requested, without those that are over. $1: the wish; `down` ends all of them.
# ACT: the command that adds or heals a fault now (partition, slow, heal), or empty.
mend_faults() {
    if test -z "$ACT" && ! has_faults; then return 0; fi
    look faults "$1" || return 1
    printf '%s' "$CAUSES" | while IFS= read -r line; do say "$line" && log "$line"; done
    case $DOES in
        load) load_faults || return 1 ;;
        keep) mv -f "$STATE/faults.new" "$STATE/faults" || return 1 ;;
        unload)
            # Empty the record first, so that no later run loads these faults again. A full disk must not prevent the
            # unload.
            put faults "boot$TAB$BOOT" || :
            empty_anchor "$FAULTS" || return 1
            ;;
        *) ;;
    esac
    each_line drop_pipe "$ANSWER" || return 1
    case $NEWLINE$ANSWER in
        *"${NEWLINE}pipe$TAB"*) note 'done' || : ;;
        *"unpipe$TAB"*)
            note 'done' || :
            forget_pipes || return 1
            ;;
        *) ;;
    esac
    case $DOES in unload | forget) forget_faults ;; esac
}

load_faults() {
    quietly pfctl -n -a "$FAULTS" -f "$STATE/faults.rules" &&
        rm -f "$STATE/faults.seen" && mv -f "$STATE/faults.new" "$STATE/faults" &&
        each_line add_pipe "$ANSWER" &&
        quietly pfctl -a "$FAULTS" -f "$STATE/faults.rules" && end_connections &&
        seen=$(see pfctl-faults) && rules=$(cat "$STATE/faults.rules") &&
        put faults.seen "$rules${NEWLINE}loaded$NEWLINE$seen"
}

forget_faults() {
    for file in $FAULT_FILES; do rm -f "$STATE/$file" "$STATE/$file.new" || return 1; done
}

add_pipe() {
    case $1 in
        "pipe$TAB"*)
            IFS=$TAB
            # shellcheck disable=SC2086 # the fields
            set -- $1
            unset IFS
            make_pipe "$2" "$3" "$4"
            ;;
        *) ;;
    esac
}

drop_pipe() {
    case $1 in
        "unpipe$TAB"*) remove_pipe "${1#*"$TAB"}" ;;
        *) ;;
    esac
}

# Runs reconcile in $1 seconds, in the background, also after a logout. If that process dies, the periodic reconcile of
# launchd does the same later.
wake_in() {
    (
        trap '' HUP
        sleep "$1"
        exec sh "$SELF" reconcile
    ) </dev/null >/dev/null 2>&1 &
}

# Sets DEADLINE (seconds since the epoch) and UNTIL (the same, readable) to $1 seconds from now, rounded up to the next
# second: the period is never shorter than requested.
moment_in() { now=$(date +%s) && DEADLINE=$((now + $1 + 1)) && UNTIL=$(date -r "$DEADLINE" '+%Y-%m-%dT%H:%M:%SZ'); }

refuse_names() {
    if test -n "$WRONG"; then
        warn_all "$WRONG"
        exit 2
    fi
}

# The commands partition, slow and heal. A fault that cannot be loaded completely is undone.
act() {
    ACT=$COMMAND
    if test -n "$PRINT"; then
        in_force
        measure_by "$FORCE" || exit 1
        ANSWER=$(ask form up) || exit 1
        each_line read_answer "$ANSWER"
        refuse_names
        printf '%s\n' "$ANSWER"
        return
    fi
    begin
    in_force
    if test "$WISH" != up || test -z "$FORCE"; then
        warn "the network is not up: start it first"
        exit 1
    fi
    measure_by "$FORCE" || exit 1
    DEADLINE=-
    UNTIL=-
    if test -n "$LASTS" && ! moment_in "$LASTS"; then exit 1; fi
    before=
    if has_faults; then before=$(cat "$STATE/faults") || exit 1; fi
    if mend_faults up; then
        if test "$COMMAND" != heal; then
            say "$SUMMARY"
            log "$SUMMARY"
        elif test "$CHANGES" = 0 || test -z "$CAUSES"; then
            say "there is nothing to heal${OTHER:+ between $ONE and $OTHER}${WHOLE:+ of $ONE}"
        fi
        if test -n "$LASTS"; then wake_in "$((LASTS + 1))"; fi
        return
    fi
    refuse_names
    tell "$REFUSED$PROBLEMS"
    if test -n "$REFUSED"; then
        warn "refused: nothing was changed"
        exit 3
    fi
    # Restore the earlier faults. The new fault comes first in the file; the deadline `x` marks it as over, so that its
    # rules and pipes are removed.
    ACT=
    if test "$COMMAND" = heal || ! has_faults || test "$(cat "$STATE/faults")" = "$before"; then exit 1; fi
    failed=$(awk -F "$TAB" -v OFS="$TAB" 'NR == 2 { $4 = "x"; print }' "$STATE/faults") || exit 1
    put faults "${before:-boot$TAB$BOOT}$NEWLINE$failed" || :
    if mend_faults up; then
        warn "nothing is changed"
    else
        tell "$PROBLEMS"
        warn "not all of it is undone: run heal"
    fi
    exit 1
}

# Sets LASTS to the seconds of a time such as 30, 30s or 1h15m30s, up to a week; fails for anything else.
read_time() {
    LASTS=0
    case $1 in
        *[!0-9hms]*) return 1 ;;
        *[!0-9]*) rest=$1 ;;
        *) rest=${1}s ;;
    esac
    for unit in h3600 m60 s1; do
        name=${unit%%[0-9]*}
        case $rest in *"$name"*) ;; *) continue ;; esac
        part=${rest%%"$name"*}
        case $part in '' | 0?* | ???????* | *[!0-9]*) return 1 ;; esac
        rest=${rest#*"$name"}
        LASTS=$((LASTS + part * ${unit#"$name"}))
    done
    test -z "$rest" && test "$LASTS" -gt 0 && test "$LASTS" -le 604800
}

# Checks and stores an option of partition, slow or heal ($1) and its value ($2).
fault_option() {
    case $1$TAB$2 in
        "--for$TAB"*)
            read_time "$2" || wrong_use "--for takes a time such as 30, 30s or 1m30s, up to a week, not '$2'"
            ;;
        "--tag$TAB" | "--tag$TAB"*[!a-z0-9-]* | "--tag$TAB"-*) wrong_use "--tag takes lower-case letters, digits and hyphens, not '$2'" ;;
        --tag*) TAG=$2 ;;
        *"$TAB" | *"$TAB"*[!0-9.]* | *.*.* | *"$TAB"0[0-9]* | *"$TAB"?????????* | --[!l]*.* | --la*.*) wrong_use "$1 takes a number of at most 8 characters, not '$2'" ;;
        --latency*) DELAY=$2 ;;
        --bandwidth*) KBIT=$2 ;;
        *) LOSS=$2 ;;
    esac
    if test "${DELAY:-0}" -gt 10000; then wrong_use "--latency takes milliseconds from 0 to 10000"; fi
    if test "${KBIT:-1}" -lt 1 || test "${KBIT:-1}" -gt 2147483; then wrong_use "--bandwidth takes kilobits a second from 1 to 2147483"; fi
    case ${LOSS:-0} in
        0 | 1 | 0.[0-9]* | 1.0) ;;
        *) wrong_use "--loss takes a share from 0 to 1" ;;
    esac
}

# ---- trying

# Prints two counts: the packets that our labelled pass rules matched, and those that our block rules matched. The
# second tells `block` from `lost`; the first is the evidence that a datagram which nobody answered was let in.
counted() {
    labels | awk '
        $1 == "between" || $1 ~ /^partition:/ || $1 == "no-internet" || $1 == "outside" || $1 == "leak" || $1 ~ /^forged:/ { met += $3; next }
        { passed += $3 }
        END { print passed + 0, met + 0 }'
}

# One probe; arguments: protocol, source, destination, port. Sets FOUND to `pass`, `block` or `lost`, and WHY to the
# reason.
probe() {
    FOUND=lost
    WHY='no answer, and none of our rules blocked it: a firewall, a VPN, or no host there'
    before=$(counted) || before='0 0'
    case $1 in
        icmp) words=$(ping -n -q -c 1 -t 2 -W 500 -S "$2" "$3" 2>&1 </dev/null) ;;
        udp) words=$(nc -z -u -w 1 -s "$2" "$3" "$4" 2>&1 </dev/null) ;;
        *) words=$(nc -z -G 2 -s "$2" "$3" "$4" 2>&1 </dev/null) ;;
    esac
    status=$?
    if test "$1" != udp && test "$status" -eq 0; then
        FOUND=pass
        WHY='it answered'
        return
    fi
    after=$(counted) || after=$before
    if test "${after#* }" -gt "${before#* }"; then
        FOUND=block
        WHY='a rule of ours blocked it'
        return
    fi
    case $1$words in
        tcp*refused*)
            FOUND=pass
            WHY='it arrived, but nothing listens there'
            ;;
        *'No route to host'*) WHY='no route to host: a VPN took the route, the bridge is gone, or Local Network privacy forbids it to this terminal (System Settings, Privacy & Security)' ;;
        *"Can't assign requested address"*) WHY='the source address is not on this Mac' ;;
        udp*)
            # A datagram need not be answered: the packet count of the rules is the evidence.
            if test "${after% *}" -gt "${before% *}"; then
                FOUND=pass
                WHY='a rule of ours let it pass'
            fi
            ;;
        *) ;;
    esac
}

probe_all() {
    read_wish
    if test "$WISH" != up; then
        warn "the network is not up: start it first"
        exit 1
    fi
    be_safe
    measure_by_force || exit 1
    ask test up | try
}

# Runs the probes that the engine lists on standard input, one per line, and reports the results.
try() {
    failures=0
    tried=0
    skipped=0
    list=
    changes=
    judged='"refused":[],"findings":[],"changes":[]'
    while IFS=$TAB read -r word expected protocol from source to destination port; do
        case $word in
            unsafe | refused | problem)
                warn "$expected"
                failures=$((failures + 1))
                continue
                ;;
            skipped) skipped=$expected ;;
            fault) if test "$JSON" = 0; then say "in force: $expected"; fi ;;
            changes) changes=$expected ;;
            judged) judged=$expected ;;
        esac
        if test "$word" != probe; then continue; fi
        probe "$protocol" "$source" "$destination" "$port"
        tried=$((tried + 1))
        verdict=ok
        good=true
        if test "$FOUND" != "$expected"; then
            verdict=FAILED
            good=false
            failures=$((failures + 1))
        fi
        what=$protocol
        number=null
        if test "$port" != -; then
            what="$protocol port $port"
            number=$port
        fi
        if test "$JSON" = 0; then
            say "$verdict: $from ($source) to $to ($destination), $what: expected $expected, found $FOUND: $WHY"
        else
            list="$list${list:+,}{\"from\":\"$from\",\"source\":\"$source\",\"to\":\"$to\",\"destination\":\"$destination\",\"protocol\":\"$protocol\",\"port\":$number,\"expected\":\"$expected\",\"found\":\"$FOUND\",\"why\":\"$WHY\",\"agrees\":$good}"
        fi
    done
    if test "$changes" != 0; then
        warn "the network is not as declared: see status"
        failures=$((failures + 1))
    fi
    if test "$JSON" = 1; then
        good=true
        if test "$failures" -gt 0; then good=false; fi
        printf '{"version":1,"agrees":%s,"tried":%s,"failed":%s,"skipped":%s,%s,"probes":[%s]}\n' "$good" "$tried" "$failures" "$skipped" "$judged" "$list"
    else
        say "$tried tried, $failures failed, $skipped skipped because a volume is not mounted"
    fi
    test "$failures" -eq 0
}

# ---- telling others

# Evaluations, packets and bytes by label, as pf counts them.
labels() {
    pfctl -a "$ANCHOR" -s labels 2>/dev/null </dev/null || return 1
    if has_faults; then pfctl -a "$FAULTS" -s labels 2>/dev/null </dev/null; fi
}

# What launchd reports about our job, without its environment: whether it is disabled, whether it is loaded, and whether
# the plist that launchd loaded differs from the installed one.
job() {
    words=$(launchctl print-disabled system 2>/dev/null </dev/null) || words=
    case $words in
        *"\"$JOB\" => disabled"* | *"\"$JOB\" => true"*) printf 'disabled\n' ;;
        *) ;;
    esac
    if ! words=$(launchctl print "system/$JOB" 2>/dev/null </dev/null); then
        printf 'not loaded\n'
        return
    fi
    printf '%s\n' "$words" | awk '/^\t(path|state|program|runs|last exit code) = / { sub(/^\t/, ""); print }'
    path=${words#*"$NEWLINE${TAB}path = "}
    cmp -s "${path%%"$NEWLINE"*}" "$BASE/networking/launchd/$JOB.plist" || printf 'differs\n'
}

# Writes what the manager reads, one file per command, into the new directory $1, for a bug report. Another user may
# replace that directory by one of the same name between mkdir and cd. So the directory that was entered is checked, not
# its name: it must be owned by root, be empty, have no access list, and have the unusual mode that it was just created
# with.
collect() {
    umask 022
    if ! mkdir -m 1700 "$1" || ! cd -P "$1"; then
        warn "cannot create $1: name a directory that does not exist yet"
        exit 1
    fi
    # shellcheck disable=SC2046 # words
    set -- "$1" $(ls -lden .)
    case $#:${2:-}:${4:-} in
        10:drwx-----T*+:*) entered=foreign ;;
        10:drwx-----T*:0) entered=$(ls -A .) ;;
        *) entered=foreign ;;
    esac
    if test -n "$entered" || ! chmod 755 .; then
        warn "$1 is not the directory that was just created: another user writes there"
        exit 1
    fi
    measure_by_force || exit 1
    token=
    if test -f "$STATE/ledger"; then token=$(awk '$1 == "token" { t = $2 } END { print t }' "$STATE/ledger"); fi
    { printf 'format\t1\n' && sw_vers; } | hide version >./version
    things="ls-lden $THINGS pfctl-anchor-tables pfctl-others pfctl-info pfctl-memory launchctl-print"
    if has_pipes; then things="$things $PIPE_THINGS"; fi
    if test -n "$MESH"; then things="$things wireguard"; fi
    if has_faults || test -n "$MESH"; then things="$things clock"; fi
    if has_faults; then things="$things pfctl-faults"; fi
    for thing in $things; do
        { see "$thing" || printf 'failed\n'; } | hide "$thing" >"./$thing"
    done
    see mount | hide mount >./mount
    labels >pfctl-anchor-labels
    scutil --dns </dev/null | awk '/nameserver\[/ { n++ } END { print "nameservers\t" n + 0 }' >scutil-dns
    for file in wish names ledger rules.conf applied starting pending told faults; do
        if test -f "$STATE/$file"; then hide "$file" <"$STATE/$file" >"./$file"; fi
    done
    for file in network.json pf/anchor.conf; do
        if test -f "$BASE/networking/$file"; then cat "$BASE/networking/$file" >"${file#pf/}"; fi
    done
    if test -f "$LOG"; then tail -n 1000 "$LOG" >log; fi
    printf '%s' "$TABLE" >table
    JSON=1
    # `show` fails for a network that is not healthy; that is no error here, status.json reports it.
    if show status >status.json; then :; fi
    say "written to $1; left out: MAC and IPv6 addresses, other programs' pf tokens and mounts, host names"
    say "included: interfaces, IPv4 addresses, routes, pf rules, your declaration; review it before you send it"
}

# Removes what a bug report does not need: MAC and IPv6 addresses, the pf tokens of other programs, other mounts.
hide() {
    awk -v thing="$1" -v ours="$token" '
        BEGIN { FS = "\t"; x = "[0-9a-fA-F][0-9a-fA-F]?"; mac = x "[:.]" x "[:.]" x "[:.]" x "[:.]" x "[:.]" x }
        thing == "mount" {
            if (!match($0, /^-?[0-9]+ [0-9]+ /)) next
            place = substr($0, RLENGTH + 1); split($0, w, " ")
            # Each mount point is followed by its parent directory.
            if (place == at "." && (w[1] != device || w[2] == number)) print "- on " substr(place, 1, length(place) - 3) " (mounted)"
            device = w[1]; number = w[2]; at = place
            next
        }
        thing == "ifconfig" && /^[ \t]*inet6 / { next }
        thing == "ifconfig" || thing == "netstat-rn" { gsub(mac, "00:00:00:00:00:00") }
        thing ~ /^pfctl-/ { gsub(/[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*/, "::") }
        thing == "pfctl-references" && /^[0-9]/ { n = split($0, w, " "); if (w[n - 3] "" != ours) sub(" " w[n - 3] " ", " 0 ") }
        thing == "ledger" && $1 == "token-before" { $0 = "token-before\t0\t." }
        { print }
    '
}

# ---- commands

help() {
    say 'usage: manage-macos-networking.sh COMMAND

  start [--confirm-within S] bring the network up; with S, roll back unless confirmed in time
  confirm                    keep what was started with --confirm-within
  partition A [B] [--for TIME] [--tag NAME]
                             cut two providers or volumes from each other, or one from all others;
                             TIME is 30, 30s or 1m30s; --print shows the rules
  slow A [B] --latency MS [--loss SHARE] [--bandwidth KBIT] [--for TIME] [--tag NAME]
                             slow the paths between them, in place of the conditions of links
  heal [A [B]] [--tag NAME]  end what partition and slow did: all, what A has, between two, or
                             what was made with that --tag
  stop                       take the network down; it stays down until the next start
  status [--json]            what is up, what is not, and what start would do; with
                             --format openmetrics as metrics
  plan [--json]              what start would do; changes nothing
  test [--json]              probe what must pass, and a sample of what must not
  reconcile                  repair what differs from the last start or stop; launchd runs this
  logs [--follow]            the counters of pf, the launchd job, and the log
  logs --collect DIR         everything that a bug report needs, in a new directory
  cleanup                    remove everything: network, kernel names, log and state
  help                       this text, as --help and -h; needs no root, nor does --version

A nix-darwin switch runs plan --switch (would start be refused?) and start --switch: neither
fails over a network that the switch does not change and that cannot be repaired now.

Exit codes:
  0   done, or healthy              3   refused: nothing was changed
  1   not healthy, a probe failed,  4   another run is at work
      or rolled back                77  not root
  2   wrong use'
}

# $1: the wish to restore. `up` restores the bundle that was in force before this start (`applied`), anything else
# removes the network. $2 and $3: what is told before and behind, if it is no start that is rolled back. Exits with 1.
roll_back() {
    report "${2:-restoring the state before the start}"
    STOPPED=
    # Without `pending`, nothing waits for a confirmation any more: if this run cannot finish, the next one rolls back.
    rm -f "$STATE/pending" || :
    mend_hosts || :
    write_wish "$1" || :
    target=down
    if test "$1" = up; then
        target=up
        measure_by "$STATE/applied" || exit 1
    elif test -f "$STATE/starting"; then
        measure_by "$STATE/starting" || exit 1
    fi
    # On a full disk the removals go ahead all the same.
    if { look rollback "$target" || test -n "$UNWRITTEN"; } && { test "$CHANGES" = 0 || converge rollback "$target"; } && forget_start "$1"; then
        report "${3:-rolled back: nothing of the start is left}"
    else
        report "the rollback is incomplete: run cleanup, then start again"
        tell "$PROBLEMS"
    fi
    exit 1
}

forget_start() {
    rm -f "$STATE/starting" "$STATE/pending" || return 1
    if test "$1" != up; then rm -f "$STATE/applied"; fi
}

# Makes the started bundle the one that reconcile maintains.
commit() {
    if ! mv -f "$STATE/starting" "$STATE/applied"; then
        cannot_write "$STATE/applied"
        return
    fi
    # `pending` means nothing without `starting`: it may stay.
    rm -f "$STATE/pending" || :
}

# What a start waits for: DEADLINE (seconds since the epoch, or `-` while the start is working), SESSION (the boot
# session), BEFORE (the wish to restore), SECONDS_GIVEN (0 if no confirmation is needed) and UNTIL (readable DEADLINE).
read_pending() {
    DEADLINE=
    SESSION=
    BEFORE=
    SECONDS_GIVEN=
    UNTIL=
    if test -f "$STATE/starting" && test -f "$STATE/pending"; then
        IFS=$TAB read -r DEADLINE SESSION BEFORE SECONDS_GIVEN UNTIL <"$STATE/pending" || :
    fi
}

wait_for_confirmation() {
    moment_in "$CONFIRM" && put pending "$DEADLINE$TAB$SESSION$TAB$BEFORE$TAB$CONFIRM$TAB$UNTIL" || return 1
    log "it is rolled back at $UNTIL unless confirmed"
    say "run 'confirm' within $CONFIRM seconds (until $UNTIL), or it is rolled back"
    wake_in "$((CONFIRM + 1))"
}

# Whether an unconfirmed start may still wait. Not after a restart, since the network may have been the reason for it;
# and a clock that was set back does not extend the period.
still_waits() {
    session=$SESSION
    case $DEADLINE$SECONDS_GIVEN in
        '' | *[!0-9]*) return 1 ;;
    esac
    now=$(date +%s) && session=$(sysctl -n kern.bootsessionuuid) || exit 1
    test "$now" -lt "$DEADLINE" && test "$((DEADLINE - now))" -le "$((SECONDS_GIVEN + 1))" && test "$session" = "$SESSION"
}

# An interrupted start that needs no confirmation is completed, not rolled back.
finishes() { test "$DEADLINE$SECONDS_GIVEN" = -0; }

# How every run begins that may change something: check the owners, take the lock, read the wish and what is pending.
begin() {
    be_safe
    take_lock
    read_wish
    read_pending
}

# FRESH: empty if the network is up with the copy $1, and the installed bundle is identical to it.
compare_with() {
    FRESH=yes
    in_force
    if test "$WISH$FORCE" = "up$1" && test -n "$1" && installed | cmp -s - "$1"; then FRESH=; fi
}

not_begun() {
    rm -f "$STATE/starting.new"
    exit "$1"
}

start() {
    begin
    if test "$WISH" != up || test -z "$BEFORE"; then BEFORE=$WISH; fi
    mend_hosts || :
    if ! installed >"$STATE/starting.new"; then
        cannot_write "$STATE/starting.new"
        exit 1
    fi
    compare_with "$STATE/applied"
    measure_by "$STATE/starting.new"
    looked=yes
    look start up || looked=
    if test -n "$looked" && leaves_as_it_is; then
        tell "$CAUTIONS$REFUSED$PROBLEMS"
        warn "this switch does not change the network, which is not as declared: see status"
        not_begun 0
    fi
    if test -z "$looked" || test -n "$PROBLEMS" && test -z "$REFUSED"; then
        tell "$PROBLEMS"
        warn "not started: nothing was changed"
        not_begun 1
    fi
    if test -n "$REFUSED"; then
        tell "$REFUSED"
        warn "refused: nothing was changed"
        # Printed last, where it is noticed: lines to copy.
        if test -z "$QUIET"; then printf '%s' "$ADVICE" >&2; fi
        not_begun 3
    fi
    if test "$CHANGES" = 0; then
        warn_all "$CAUTIONS"
        say "the network is up already: nothing to change${CONFIRM:+, and nothing to roll back}"
        not_begun 0
    fi
    say "$SUMMARY"
    tell "$CAUTIONS$CAUSES"
    SESSION=$(sysctl -n kern.bootsessionuuid) || exit 1
    remember_connection
    # Until `starting` is in place and the wish is `up`, the network is not touched. If this run dies later, the next
    # reconcile completes the start or, with --confirm-within, rolls it back.
    put pending "-$TAB$SESSION$TAB$BEFORE$TAB${CONFIRM:-0}$TAB-" && mv -f "$STATE/starting.new" "$STATE/starting" &&
        measure_by "$STATE/starting" && write_wish up || exit 1
    FRESH=
    if apply strict && settle start up && test -z "$REFUSED$PROBLEMS" && still_connected start && keep_started; then exit 0; fi
    tell "$REFUSED$PROBLEMS"
    if test -n "$CHANGES" && test "$CHANGES" != 0; then
        if is_cut_off; then report "$LOST"; else warn "not everything is as declared"; fi
    fi
    roll_back "$BEFORE"
}

keep_started() {
    if test -z "$CONFIRM" && ! commit; then return 1; fi
    log "the network is up${CONFIRM:+, and waits for its confirmation}"
    say "the network is up"
    if test -n "$CONFIRM"; then wait_for_confirmation; fi
}

# Remembers the default route and whether there is a name server. If the Mac loses one of them by a change, the network
# is rolled back; but if the interface of that route has no address any more, this run did not cause the loss.
remember_connection() {
    default=$DEFAULT
    dns=
    if has_dns; then dns=yes; fi
}

# Whether a switch installs the bundle that is already in force, while something keeps the network from being as
# declared.
leaves_as_it_is() { test -n "$SWITCH" && test -z "$FRESH" && test -n "$REFUSED$PROBLEMS"; }

# `plan --switch`: a switch runs it from the new bundle, before it changes anything. Reports whether `start --switch`
# would go ahead. Takes no lock and writes nothing.
plan_switch() {
    RULES=${SELF%/*}/pf/anchor.conf
    read_wish
    compare_with "$STATE/applied"
    code=0
    look switch up || code=1
    if test -n "$REFUSED"; then code=3; elif test -n "$PROBLEMS"; then code=1; fi
    if test -n "$CHANGES" && leaves_as_it_is; then code=0; fi
    warn_all "$CAUTIONS$PROBLEMS$REFUSED$ADVICE"
    exit "$code"
}

# Whether the Mac has what remember_connection saw. macOS takes both away for a moment when the network around it
# changes, which is when reconcile runs: so this looks up to LOOKS times, a second apart. $1: what `look` is asked.
still_connected() {
    looks=$LOOKS
    while is_cut_off; do
        looks=$((looks - 1))
        if test "$looks" -le 0; then
            report "$LOST"
            return 1
        fi
        sleep 1
        route=$DEFAULT
        addressed=$ADDRESSED
        # A look that fails has seen neither.
        if ! look "$1" up; then
            DEFAULT=$route
            ADDRESSED=$addressed
        fi
    done
}

# Whether it is lost now. LOST: what.
is_cut_off() {
    case "$default " in
        ' ') return 1 ;;
        *) case " $ADDRESSED" in *" ${default##* } "*) ;; *) return 1 ;; esac ;;
    esac
    LOST="the Mac has lost its default route ($default)"
    if test -z "$DEFAULT"; then return 0; fi
    LOST="the Mac has lost its name servers"
    test -n "$dns" && ! has_dns
}

confirm() {
    be_safe
    if test -d "$STATE"; then take_lock; fi
    read_wish
    read_pending
    if test "$WISH" != up || test -z "$DEADLINE" || test "$DEADLINE" = -; then
        warn "there is nothing to confirm"
        exit 1
    fi
    expire
    commit || exit 1
    log "confirmed"
    say "confirmed: the network stays"
}

# Rolls back a start that was not confirmed in time, or was interrupted. Returns if it may still wait.
expire() {
    if still_waits; then return 0; fi
    why="the start was not confirmed in time"
    case $DEADLINE in
        '' | -) why="an earlier start was interrupted" ;;
        *) if test "$session" != "$SESSION"; then why="the Mac was restarted before the start was confirmed"; fi ;;
    esac
    report "$why"
    undo_start
}

# Restores what was before the start that is pending.
undo_start() {
    if test -z "$BEFORE" && test -f "$STATE/applied"; then BEFORE=up; fi
    roll_back "${BEFORE:-none}"
}

# Repairs what differs from the wish; if that is up, from the bundle of the last start. If there is nothing to do,
# nothing is written, not even a lock.
reconcile() {
    if ! test -d "$STATE"; then return 0; fi
    read_wish
    in_force
    if test "$WISH$FORCE" = none && ! test -f "$STATE/pending" && ! has_faults; then return 0; fi
    if ! test -f "$STATE/starting" && ! test -f "$STATE/hosts.pending" && ! test -f "$STATE/told" && test "$WISH$FORCE" != up; then
        if measure_by "$FORCE" 2>/dev/null && { ! has_faults || { look faults "$WISH" && test "$CHANGES" = 0; }; } && look reconcile "$WISH" && test "$CHANGES$REFUSED$PROBLEMS$CAUSES" = 0; then return 0; fi
    fi
    # A completed look has checked the owners, too.
    if test -n "$CHANGES"; then SAFE=yes; else be_safe; fi
    take_lock
    read_wish
    read_pending
    in_force
    if test "$WISH" = up && test "$FORCE" = "$STATE/starting" && ! finishes; then expire; fi
    if test -f "$STATE/hosts.pending"; then mend_hosts || :; fi
    measure_by "$FORCE" || exit 1
    faulty=
    if ! mend_faults "$WISH"; then
        faulty=$REFUSED$PROBLEMS
        if test -z "$faulty"; then faulty="a partition or slowed path is not as recorded$NEWLINE"; fi
    fi
    if test "$WISH$FORCE" = none; then return 0; fi
    if test -z "$FORCE" && test "$WISH" = up; then
        tell_once "which network is up is not recorded: start it again$NEWLINE"
        exit 1
    fi
    if ! look reconcile "$WISH"; then
        tell_once "$faulty$PROBLEMS"
        exit 1
    fi
    if test -n "$REFUSED"; then
        tell_once "$REFUSED"
        exit 3
    fi
    # What was changed from outside is logged once, even if nothing is left to repair: then only the ledger is updated.
    if test "$CHANGES$CAUSES" != 0; then
        tell "$CAUSES"
        remember_connection
        if ! converge reconcile "$WISH"; then
            tell "$PROBLEMS"
            warn "the network is not as declared: see status"
            exit 1
        fi
        if test "$WISH" = up && ! still_connected reconcile; then
            # A start that may still be rolled back is; otherwise the network goes down until somebody starts it.
            if test -n "$DEADLINE"; then undo_start; fi
            roll_back none "taking the network down" "the network is down until the next start"
        fi
    fi
    if test "$WISH" != up; then
        forget_start "$WISH" || exit 1
    elif finishes; then
        commit || exit 1
    fi
    PROBLEMS=$faulty$PROBLEMS
    if test -n "$PROBLEMS"; then
        tell_once "$PROBLEMS"
        exit 1
    fi
    if test -f "$STATE/told"; then rm -f "$STATE/told" || exit 1; fi
}

# Reports $1, but to the log only if the last reconcile did not log the same.
tell_once() {
    known=
    if test -f "$STATE/told"; then known=$(cat "$STATE/told")$NEWLINE; fi
    if test "$known" = "$1"; then
        warn_all "$1"
    else
        tell "$1"
        put told "${1%"$NEWLINE"}" || :
    fi
}

# Whether the ledger, if there is one, has this version's form and base.
is_our_ledger() {
    if ! test -e "$STATE/ledger"; then return 0; fi
    { IFS= read -r form && IFS= read -r whose; } <"$STATE/ledger" || return 1
    test "$form$whose" = "nixvol-net ledger${TAB}1$TAB.base$TAB$BASE$TAB."
}

# Removes everything of ours, whichever bundle it came from. $1: the name of the command. A wish `up` becomes `down`
# first: if this run dies, reconcile completes it.
take_down() {
    begin
    # What another base or version keeps is refused before anything is changed.
    if ! is_our_ledger && measure_by_force && { look "$1" down || :; } && test -n "$REFUSED"; then
        tell "$REFUSED"
        exit 3
    fi
    if test "$WISH" = up; then write_wish down || exit 1; fi
    mend_hosts || :
    measure_by_force || exit 1
    if ! mend_faults down; then
        tell "$REFUSED$PROBLEMS"
        warn "something is left: run $1 again"
        exit 1
    fi
    if ! look "$1" down && test -z "$UNWRITTEN"; then
        tell "$PROBLEMS"
        exit 1
    fi
    if test -n "$REFUSED"; then
        tell "$REFUSED"
        exit 3
    fi
    tell "$CAUTIONS"
    if test "$CHANGES" = 0; then return 0; fi
    if ! converge "$1" down; then
        tell "$PROBLEMS"
        warn "something is left: run $1 again"
        exit 1
    fi
}

stop() {
    if ! test -d "$STATE"; then
        say "the network is down already"
        return 0
    fi
    take_down stop
    if test "$CHANGES" = 0 && test -z "$ACTED$FORCE"; then
        say "the network is down already"
        return 0
    fi
    forget_start none || exit 1
    log "the network is down"
    say "the network is down"
}

# Our files in the state directory, which cleanup removes. Other files are kept, and then the directory is too.
STATE_FILES="wish names ledger pipes rules rules.less rules.conf rules.seen rules.loading hosts hosts.pending
    hosts.place applied starting pending told $FAULT_FILES"

cleanup() {
    if ! test -d "$STATE" && ! test -e "$LOG"; then
        say "nothing of this network is left here"
        return 0
    fi
    take_down cleanup
    set --
    for file in $STATE_FILES; do set -- "$@" "$STATE/$file" "$STATE/$file.new"; done
    rm -f "$@" "$LOG" "$LOG".[0-9]* || exit 1
    release_lock
    if ! rmdir "$STATE" 2>/dev/null; then
        for file in "$STATE"/*; do
            case $file in
                "$STATE"/lock | "$STATE"/lock.* | "$STATE/*") ;;
                *) warn "$STATE holds other files and is kept" && break ;;
            esac
        done
    fi
    say "everything of this network is removed"
}

logs() {
    if test -n "$COLLECT"; then
        collect "$COLLECT"
        return
    fi
    say "by label, as pf counted since the rules were loaded:"
    if ! counts=$(labels); then
        warn "cannot read pf's counters"
        exit 1
    fi
    printf '%s\n' "$counts" | awk '
        function row(a, b, c, d) { printf "%-40s %12s %12s %15s\n", a, b, c, d }
        NF < 4 { next }
        !($1 in evaluated) { order[++n] = $1 }
        { evaluated[$1] += $2; packets[$1] += $3; bytes[$1] += $4 }
        END {
            row("LABEL", "EVALUATIONS", "PACKETS", "BYTES")
            for (i = 1; i <= n; i++) row(order[i], evaluated[order[i]], packets[order[i]], bytes[order[i]])
        }'
    say ""
    say "launchd, system/$JOB:"
    job
    say ""
    if ! test -e "$LOG"; then
        say "there is no log yet at $LOG"
    elif test -n "$FOLLOW"; then
        exec tail -n 100 -F "$LOG"
    else
        tail -n 100 "$LOG"
    fi
}

# status and plan only look: they take no lock and write nothing. status compares the Mac with the bundle in force, plan
# with the installed one.
show() {
    read_wish
    read_pending
    if test -n "$DEADLINE"; then PENDING="$SECONDS_GIVEN $UNTIL $SESSION"; fi
    target=up
    in_force
    if test "$1" = status; then
        compare_with "$FORCE"
        if test "$WISH" != up; then target=down; fi
        if ! measure_by "$FORCE" 2>/dev/null; then
            # Another run has removed the copy meanwhile: start over.
            if ! test -e "$FORCE"; then
                show "$1"
                return
            fi
            warn "cannot read $FORCE"
            return 1
        fi
    else
        compare_with "$STATE/applied"
    fi
    ask "$1" "$target" || {
        status=$?
        # Another run has removed the copy meanwhile: start over.
        if test -n "$BUNDLE" && ! test -e "$BUNDLE"; then
            measure_by ''
            show "$1"
            return
        fi
        return "$status"
    }
}

# ---- what was asked for

case $0 in
    /*) SELF=$0 ;;
    *) SELF=$(pwd -P)/$0 ;;
esac
case $SELF in
    *"$NEWLINE"* | *"$TAB"*) wrong_use "the path of this program contains a tab or a newline: call it by another" ;;
esac
# MINE: set if the user who runs this program owns it.
MINE=
# shellcheck disable=SC3067 # POSIX has no -O, but every sh of macOS does
if test -O "$SELF"; then MINE=yes; fi
COMMAND=${1:-}
CONFIRM=
# The arguments of partition, slow and heal: both endpoints, duration, delay, loss and bandwidth; a tag. WHOLE: heal has one
# endpoint. ACT: the command, once it is carried out; DEADLINE and UNTIL: when its effect ends.
ONE=
OTHER=
LASTS=
DELAY=
LOSS=
KBIT=
PRINT=
TAG=-
WHOLE=
ACT=
DEADLINE=
UNTIL=
COLLECT=
SWITCH=
FOLLOW=
JSON=0
# FRESH: see compare_with. PENDING: what waits for its confirmation, for status and plan.
FRESH=
PENDING=
PLACES=places$TAB$ANCHOR$TAB${HOSTS:--}
measure_by ''
case $COMMAND in
    '')
        help
        exit 2
        ;;
    -h | --help)
        COMMAND=help
        shift
        ;;
    --version)
        say manage-macos-networking.sh '0.1.0'
        exit 0
        ;;
    help | status | test | start | confirm | partition | slow | heal | stop | plan | reconcile | cleanup | logs) shift ;;
    *) wrong_use "there is no command '$COMMAND'" ;;
esac
while test $# -gt 0; do
    case $COMMAND$TAB$1 in
        "status$TAB--json" | "test$TAB--json" | "plan$TAB--json") JSON=1 ;;
        "status$TAB--format" | "test$TAB--format" | "plan$TAB--format")
            shift
            case $COMMAND$TAB${1:-} in
                *"${TAB}text") JSON=0 ;;
                *"${TAB}json") JSON=1 ;;
                "status${TAB}openmetrics") JSON=2 ;;
                status*) wrong_use "--format takes text, json or openmetrics, not '${1:-}'" ;;
                *) wrong_use "--format takes text or json, not '${1:-}'" ;;
            esac
            ;;
        "start$TAB--switch" | "plan$TAB--switch") SWITCH=yes ;;
        "start$TAB--confirm-within")
            shift
            CONFIRM=${1:-}
            case $CONFIRM in
                '' | 0* | *[!0-9]* | ??????*) wrong_use "--confirm-within takes a number of seconds from 1 to 99999" ;;
            esac
            ;;
        "partition$TAB--print" | "slow$TAB--print") PRINT=yes ;;
        "partition$TAB--for" | "slow$TAB--for" | "slow$TAB--latency" | "slow$TAB--bandwidth" | "slow$TAB--loss" | \
            "partition$TAB--tag" | "slow$TAB--tag" | "heal$TAB--tag")
            fault_option "$1" "${2:-}"
            shift
            ;;
        "partition$TAB-"* | "slow$TAB-"* | "heal$TAB-"*) wrong_use "'$COMMAND' has no option '$1'" ;;
        "partition$TAB"* | "slow$TAB"* | "heal$TAB"*)
            case $1 in '' | *[!a-z0-9-]*) wrong_use "'$1' is not the name of a provider or volume" ;; esac
            if test -z "$ONE"; then
                ONE=$1
            elif test -z "$OTHER"; then
                OTHER=$1
            else
                wrong_use "'$COMMAND' takes one or two endpoints"
            fi
            ;;
        "logs$TAB--follow") FOLLOW=yes ;;
        "logs$TAB--collect")
            shift
            COLLECT=${1:-}
            if test -z "$COLLECT"; then wrong_use "--collect takes a directory to create"; fi
            ;;
        *) wrong_use "'$COMMAND' has no option '$1'" ;;
    esac
    shift
done

case $COMMAND in
    partition | slow | heal)
        if test -z "$ONE" && test "$COMMAND" != heal; then wrong_use "'$COMMAND' takes one or two endpoints: providers or volumes"; fi
        case $COMMAND$OTHER in
            heal) WHOLE=$ONE ;;
            partition | slow) OTHER=- ;;
            *) ;;
        esac
        if test "$COMMAND" = slow && test -z "$DELAY$LOSS$KBIT"; then wrong_use "slow takes --latency, --loss or --bandwidth"; fi
        ;;
    *) ;;
esac
if test "$COMMAND" != help; then need_root; fi
case $COMMAND in
    status | plan)
        if test -n "$SWITCH"; then plan_switch; fi
        show "$COMMAND"
        ;;
    test) probe_all ;;
    partition | slow | heal) act ;;
    reconcile)
        if test "$PPID" = 1; then QUIET=yes; fi
        reconcile
        ;;
    *) "$COMMAND" ;;
esac
