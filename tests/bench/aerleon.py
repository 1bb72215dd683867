#!/usr/bin/env python3
"""Render and check the same policy with nixvol-net and with Aerleon, and print the ratios.

    cargo build --release
    python3 tests/bench/aerleon.py

The policy: N providers with a /24 each; inside a provider everything passes, between all of them tcp 2379-2380, and
nothing else. Aerleon gets it as YAML: a network for each provider and a group of them, a term for the mesh, a term for
each provider, and one that denies the rest.

What is timed, the median of five processes from start to end:

    render  nixvol-net: `render`, which also proves the rules before it writes; it writes a manager and more as well
            Aerleon:    `aclgen`, without a check
    check   nixvol-net: `verify`, which reads the written rules back and proves them for all packets
            Aerleon:    one process that parses the policy once, with shade checking (which terms can never match), and
                        asks `AclCheck` about the flows below; it looks at terms, not at the rendered file

Before that, both rendered files must give the expected verdict on the same flows, in nixvol-net's reader of pf, as
first packets without state. Aerleon is taken from this Python if it is there, else pip installs it into a temporary
venv. Needs Python 3.11.
"""

import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

AERLEON = "1.18.0"
SIZES = [5, 50, 200]
RUNS = 5
NIXVOL = Path(__file__).resolve().parents[2] / "target" / "release" / "nixvol-net"

NOTES = """\
render  nixvol-net renders, proves and writes the whole bundle; Aerleon renders the rules.
check   nixvol-net proves the bytes of the rendered rules, for all packets. Aerleon looks for shaded terms and tells
        which term takes each of {flows} flows; the policy's terms are checked, not the rendered file.
rules   of the rendered file, without tables. nixvol-net's also say what localhost, the Mac and the outside may do,
        which this policy leaves to Aerleon's last term."""


def flows(size):
    """(protocol, source, destination, destination port, action): what the policy must say."""
    last = size - 1
    return [
        ("tcp", "10.0.1.2", "10.1.1.2", 2379, "accept"),
        ("tcp", f"10.{last}.1.2", "10.0.1.2", 2380, "accept"),
        ("udp", f"10.{last}.1.2", f"10.{last}.1.3", 53, "accept"),
        ("tcp", "10.0.1.2", f"10.{last}.1.2", 5432, "deny"),
        ("udp", "10.0.1.2", "10.1.1.2", 2379, "deny"),
        ("tcp", "10.0.1.2", "203.0.113.7", 443, "deny"),
    ]


def declare(size, folder):
    """Write the policy as both programs take it."""
    names = [f"p{n}" for n in range(size)]
    providers = {
        name: {"network": f"10.{n}.1.0/24", "gateway": f"10.{n}.1.1/24", "internet": False}
        for n, name in enumerate(names)
    }
    link = {"from": names, "to": names, "protocol": "tcp", "ports": ["2379-2380"]}
    network = {"version": 1, "providers": providers, "volumes": {}, "links": [link]}
    (folder / "network.json").write_text(json.dumps(network))

    lines = ["networks:"]
    for n, name in enumerate(names):
        lines += [f"  {name.upper()}:", "    values:", f"      - address: 10.{n}.1.0/24"]
    lines += ["  PROVIDERS:", "    values:", *(f"      - name: {name.upper()}" for name in names)]
    definitions = folder / "definitions"
    definitions.mkdir()
    (definitions / "networks.yaml").write_text("\n".join(lines) + "\n")
    (definitions / "services.yaml").write_text("services:\n  ETCD:\n    - protocol: tcp\n      port: 2379-2380\n")

    lines = ["filters:", "  - header:", "      targets:", "        packetfilter: mesh inet", "    terms:"]
    lines += ["      - name: mesh", "        source-address: PROVIDERS", "        destination-address: PROVIDERS"]
    lines += ["        protocol: tcp", "        destination-port: ETCD", "        action: accept"]
    for name in names:
        lines += [f"      - name: within-{name}", f"        source-address: {name.upper()}"]
        lines += [f"        destination-address: {name.upper()}", "        action: accept"]
    lines += ["      - name: rest", "        action: deny"]
    (folder / "mesh.yaml").write_text("\n".join(lines) + "\n")


def aerleon_check(folder, size):
    """The process that is timed as Aerleon's check."""
    from aerleon.lib import aclcheck, naming, yaml

    policy = yaml.ParsePolicy(
        (folder / "mesh.yaml").read_text(),
        filename="mesh.yaml",
        base_dir=str(folder),
        definitions=naming.Naming(str(folder / "definitions")),
        shade_check=True,
    )
    for protocol, source, destination, port, action in flows(size):
        check = aclcheck.AclCheck(policy, source, destination, "40000", str(port), protocol)
        found = [match.action for match in check.ExactMatches()]
        if found != [action]:
            sys.exit(f"Aerleon: {protocol} {source} -> {destination}:{port}: {found}, not {action}")


def run(command, stdin=None):
    try:
        done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"error: {command[0]} does not start: {error.strerror}")
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\nexit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def medians(*commands_of):
    """The median seconds of each `command_of(number of the run)`; they take turns, so that load meets all alike."""
    seconds = [[] for _ in commands_of]
    for number in range(RUNS):
        for command_of, taken in zip(commands_of, seconds):
            command = command_of(number)
            start = time.perf_counter()
            run(command)
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def agree(rules, options, size):
    """Both files must say the same about the flows."""
    packets = [
        {"dir": "out", "if": "lo0", "proto": protocol, "src": source, "sport": 40000, "dst": destination, "dport": port}
        for protocol, source, destination, port, _ in flows(size)
    ]
    lines = "".join(json.dumps(packet) + "\n" for packet in packets)
    answers = run([NIXVOL, "pf", "eval", "--stateless", *options], lines).splitlines()
    found = [json.loads(answer)["action"] for answer in answers]
    expected = ["pass" if flow[-1] == "accept" else "block" for flow in flows(size)]
    if found != expected:
        sys.exit(f"error: {rules} is not the policy: {found}, not {expected}")


def rules_in(file):
    return len(re.findall(r"^(?:pass|block|nat|rdr|binat|no) ", file.read_text(), re.MULTILINE))


def python_with_aerleon(folder):
    """A Python that has Aerleon, and Aerleon's version."""
    try:
        return sys.executable, importlib.metadata.version("aerleon")
    except importlib.metadata.PackageNotFoundError:
        pass
    print(f"installing aerleon {AERLEON} into a temporary venv", file=sys.stderr)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"aerleon=={AERLEON}"])
    return python, AERLEON


def measure(size, folder, python):
    folder.mkdir()
    declare(size, folder)
    network, definitions, policy = folder / "network.json", folder / "definitions", folder / "mesh.yaml"
    # -P, because this file is called aerleon too.
    aclgen = [python, "-P", "-m", "aerleon", "--definitions_directory", definitions, "--base_directory", folder]
    aclgen += ["--policy_file", policy, "--output_directory"]
    # A directory for each run: both programs write less where the files are there already.
    for number in range(RUNS):
        (folder / f"aerleon-{number}").mkdir()
    render = medians(
        lambda number: [NIXVOL, "render", "--input", network, "--out", folder / f"nixvol-{number}"],
        lambda number: [*aclgen, folder / f"aerleon-{number}"],
    )
    ours, theirs = folder / "nixvol-0" / "pf" / "anchor.conf", folder / "aerleon-0" / "mesh.pf"
    agree(ours, ["--anchor", f"com.apple/250.nixvol={ours}", "-D", "egress=en0"], size)
    agree(theirs, ["--main", theirs], size)
    check = medians(
        lambda _: [NIXVOL, "verify", folder / "nixvol-0"],
        lambda _: [python, "-P", __file__, "--aerleon-check", folder, size],
    )
    for what, (seconds, other) in (("render", render), ("check", check)):
        rules = f"{rules_in(ours):>11} {rules_in(theirs):>8}"
        print(f"{size:>9}  {what:<6} {seconds:>12.4f} {other:>10.4f} {other / seconds:>6.0f}x {rules}", flush=True)


def main():
    if sys.argv[1:2] == ["--aerleon-check"]:
        return aerleon_check(Path(sys.argv[2]), int(sys.argv[3]))
    if sys.argv[1:]:
        sys.exit(__doc__)
    if not os.access(NIXVOL, os.X_OK):
        sys.exit(f"error: there is no {NIXVOL}\nhint: cargo build --release")
    with tempfile.TemporaryDirectory(prefix="nixvol-bench-") as name:
        folder = Path(name)
        python, version = python_with_aerleon(folder)
        [start] = medians(lambda _: [python, "-P", "-c", "import aerleon.aclgen"])
        print(f"{run([NIXVOL, '--version']).strip()} and Aerleon {version}, median of {RUNS} processes")
        print(f"Python's start and the import of aclgen alone take {start:.2f} s of Aerleon's render\n")
        print(f"{'':18}{'seconds':>23} {'':7} {'rules':>20}")
        print("providers         nixvol-net    Aerleon   ratio  nixvol-net  Aerleon", flush=True)
        for size in SIZES:
            measure(size, folder / str(size), python)
        print(f"\n{NOTES.format(flows=len(flows(SIZES[0])))}")


if __name__ == "__main__":
    main()
