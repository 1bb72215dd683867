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
      callPackage =
        file: arguments:
        assert builtins.pathExists file;
        builtins.seq (builtins.toJSON arguments) (drv system "nixvol-net");
      writeShellScriptBin = name: text: builtins.seq text (drv system name);
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
        config.services.nixvol-net.bundle = drv "aarch64-darwin" "bundle";
      };
  };

  outputs = flake.outputs {
    self = outputs;
    inherit nixpkgs nix-darwin;
  };

  # Everything of a system that is there is forced, down to what would be built.
  forced =
    system:
    builtins.deepSeq (map (kind: builtins.toJSON outputs.${kind}.${system}) [
      "packages"
      "apps"
      "checks"
      "devShells"
      "formatter"
    ]) system;
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
assert (outputs.overlays.default (packagesOf "x86_64-linux") { }) ? nixvol-net;
builtins.deepSeq
  (map forced (
    [
      "aarch64-darwin"
      "aarch64-linux"
      "x86_64-linux"
    ]
    ++ lib.optional (x86Darwin == "there") "x86_64-darwin"
  ))
  {
    systems = builtins.mapAttrs (_kind: builtins.attrNames) {
      inherit (outputs)
        packages
        apps
        checks
        devShells
        formatter
        ;
    };
    apps = builtins.attrNames outputs.apps.aarch64-darwin;
    checks = builtins.attrNames outputs.checks.aarch64-darwin;
    linuxChecks = builtins.attrNames outputs.checks.x86_64-linux;
    inherit (outputs.apps.aarch64-darwin.nixvol-net) program;
  }
