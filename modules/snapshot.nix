# A check for the user's own flake: it fails if the network is no longer the one that was reviewed.
#
# `input` is `config.services.nixvol-net.input` of a system, and `snapshot` the directory that `nixvol-net snapshot
# accept` wrote. Nothing of that system is built, so that a Linux machine can check the network of a Mac: `pkgs` are
# those of the machine that runs the check.
{
  pkgs,
  input,
  snapshot,
  package ? pkgs.callPackage ./package.nix { },
}:
let
  declaration = pkgs.writeText "nixvol-net.json" (builtins.toJSON input);

  # Before the first review the directory does not exist; the program then reports what to do.
  accepted =
    if builtins.pathExists snapshot then
      builtins.path {
        name = "nixvol-snapshot";
        path = snapshot;
      }
    else
      baseNameOf snapshot;
in
pkgs.runCommand "nixvol-net-snapshot" { nativeBuildInputs = [ package ]; } ''
  nixvol-net snapshot check --input ${declaration} --dir ${pkgs.lib.escapeShellArg accepted}
  touch "$out"
''
