# The outputs of the flake, made with stand-ins for its inputs and forced as far as stand-ins go.
{
  x86Darwin ? "there",
}:
let
  flake = import ../../flake.nix;

  lib = import ./lib // {
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    escapeShellArg = text: "'${text}'";
    hasSuffix = suffix: text: builtins.match ".*${suffix}" text != null;
  };

  drv =
    system: name:
    derivation {
      inherit name system;
      builder = "/bin/sh";
    }
    // {
      meta.mainProgram = name;
      nativeBuildInputs = [ ];
      overrideAttrs =
        change:
        builtins.seq (builtins.toJSON (
          if builtins.isFunction change then change (drv system name) else change
        )) (drv system name);
    };

  packagesOf =
    system:
    lib.genAttrs [
      "busybox"
      "cargo-insta"
      "clippy"
      "dash"
      "libplist"
      "mawk"
      "mksh"
      "nawk"
      "nix"
      "nixfmt"
      "nixfmt-tree"
      "procps"
      "rust-analyzer"
      "rustfmt"
      "shellcheck"
    ] (drv system)
    // {
      inherit lib;
      callPackage =
        file: arguments:
        assert builtins.pathExists file;
        builtins.seq (builtins.toJSON arguments) (drv system "nixvol-net");
      writeShellScriptBin = name: text: builtins.seq text (drv system name);
      writeText = name: text: builtins.seq text (drv system name);
      runCommand =
        name: attrs: script:
        builtins.seq (builtins.toJSON (attrs // { inherit script; })) (drv system name);
      mkShell = arguments: builtins.seq (builtins.toJSON arguments) (drv system "shell");
    };

  nixpkgs = {
    inherit lib;
    outPath = "/nixpkgs";
    legacyPackages =
      lib.genAttrs [
        "aarch64-darwin"
        "aarch64-linux"
        "x86_64-linux"
        "riscv64-linux"
      ] packagesOf
      // lib.optionalAttrs (x86Darwin == "there") { x86_64-darwin = packagesOf "x86_64-darwin"; }
      // lib.optionalAttrs (x86Darwin == "throws") { x86_64-darwin = throw "dropped"; };
  };

  nix-darwin = {
    outPath = "/nix-darwin";
    lib.darwinSystem =
      { modules }:
      assert builtins.all (module: builtins.isAttrs module || builtins.pathExists module) modules;
      {
        system = drv "aarch64-darwin" "darwin-system";
        config.services.nixvol-net = {
          bundle = drv "aarch64-darwin" "bundle";
          input = { };
        };
      };
  };

  outputs = flake.outputs {
    self = outputs;
    inherit nixpkgs nix-darwin;
  };

  # Every value of every output, by path, down to what would be built: nothing of the flake is left unevaluated.
  # Functions are called below; a system that throws is listed as such.
  walk =
    path: value:
    let
      forced = builtins.tryEval value;
    in
    if !forced.success then
      [ "${path}: throws" ]
    else if value.type or null == "derivation" then
      builtins.seq value.drvPath [ "${path}: ${value.name}" ]
    else if builtins.isAttrs value then
      builtins.concatMap (name: walk "${path}.${name}" value.${name}) (builtins.attrNames value)
    else if builtins.isFunction value then
      [ "${path}: function" ]
    else if builtins.isPath value then
      assert builtins.pathExists value;
      [ "${path}: path" ]
    else
      builtins.seq (builtins.toJSON value) [ "${path}: ${builtins.typeOf value}" ];

  walked =
    outputs: builtins.concatMap (name: walk name outputs.${name}) (builtins.attrNames outputs);

  pkgs = packagesOf "x86_64-linux";

  # The template, with this flake as its input.
  template = (import (outputs.templates.default.path + "/flake.nix")).outputs {
    self = {
      darwinConfigurations.mac = nix-darwin.lib.darwinSystem { modules = [ ]; };
    };
    inherit nixpkgs nix-darwin;
    nixvol-net = outputs;
  };
in
assert builtins.pathExists (outputs.darwinModules.default + "/default.nix");
assert
  outputs.lib.snapshotCheck {
    pkgs = packagesOf "x86_64-linux" // {
      inherit lib;
      writeText = builtins.toFile;
      runCommand =
        name: attrs: script:
        builtins.seq (builtins.toJSON attrs) script;
    };
    input = { };
    snapshot = ../../templates;
  } != "";
assert builtins.pathExists (outputs.templates.default.path + "/flake.nix");
{
  outputs = walked outputs;
  inputs = builtins.attrNames flake.inputs;
  overlay = (outputs.overlays.default pkgs { }).nixvol-net.name;
  template = walked template;
  inherit (outputs.apps.aarch64-darwin.nixvol-net) program;
}
