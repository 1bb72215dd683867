# The nix-darwin module. It can be imported by its path; the flake only exports it.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  cfg = config.services.nixvol-net;
  declared = options.services.nixvol-net;
  data = import ./data.nix { inherit lib; } cfg;
  positions = import ./positions.nix { inherit lib; } {
    inherit data;
    definitions = lib.genAttrs [
      "providers"
      "volumes"
      "localhost"
      "links"
      "expect"
      "mac"
      "macs"
      "base"
      "stateDir"
      "logFile"
      "anchor"
      "allowOverlap"
      "reconcileInterval"
    ] (name: declared.${name}.definitionsWithLocations);
  };
in
{
  imports = [
    ./options.nix
    ./assertions.nix
    ./activate.nix
    ./tunnel.nix
    ./presets/multi-cloud.nix
  ];

  config.services.nixvol-net = {
    input = data // lib.optionalAttrs (positions != { }) { inherit positions; };

    # Render into the build directory first: the generator creates files next to its output, which the store forbids.
    bundle = pkgs.runCommand "nixvol-net-bundle" { nativeBuildInputs = [ cfg.package ]; } ''
      nixvol-net render --input ${pkgs.writeText "nixvol-net.json" (builtins.toJSON cfg.input)} --out bundle
      nixvol-net verify bundle
      cp -R bundle "$out"
    '';
  };

  config.environment.systemPackages = lib.mkIf cfg.enable [ cfg.package ];
}
