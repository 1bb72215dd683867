# Every output of the flake, made with stand-ins for its inputs and forced down to what would be built. With the
# sources of nix-darwin and of Nixpkgs' lib, those are the real ones.
{
  x86Darwin ? "there",
  nixDarwin ? null,
  nixpkgsLib ? null,
}:
let
  flake = import ../../flake.nix;
  lib = import ./nixpkgs/lib.nix nixpkgsLib;

  packagesOf = localSystem: import ./nixpkgs { inherit lib localSystem; };

  nixpkgs = {
    inherit lib;
    outPath = toString ./nixpkgs;
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

  standIn = {
    lib.darwinSystem =
      { modules }:
      assert builtins.all (
        module: builtins.isAttrs module || builtins.isFunction module || builtins.pathExists module
      ) modules;
      {
        system = nixpkgs.legacyPackages.aarch64-darwin.nix;
        config.system.build.run-test = nixpkgs.legacyPackages.aarch64-darwin.nix;
        config.services.nixvol-net = {
          bundle = nixpkgs.legacyPackages.aarch64-darwin.nix;
          input = { };
        };
      };
  };

  real =
    (import (nixDarwin + "/flake.nix")).outputs {
      inherit nixpkgs;
      self = real // {
        outPath = nixDarwin;
      };
    };

  nix-darwin = (if nixDarwin == null then standIn else real) // {
    outPath = if nixDarwin == null then "/nix-darwin" else nixDarwin;
  };

  outputs = flake.outputs {
    self = outputs;
    inherit nixpkgs nix-darwin;
  };

  template = (import ../../templates/flake/flake.nix).outputs {
    self = template;
    inherit nixpkgs nix-darwin;
    nixvol-net = outputs;
  };

  # The path of each leaf; what is to be built there is instantiated first.
  leaves =
    path: value:
    if value.type or null == "derivation" then
      builtins.seq value.drvPath [ path ]
    else if builtins.isAttrs value then
      builtins.concatMap (name: leaves (path ++ [ name ]) value.${name}) (builtins.attrNames value)
    else if builtins.isPath value then
      assert builtins.pathExists value;
      [ path ]
    else
      builtins.seq (if builtins.isFunction value then null else builtins.toJSON value) [ path ];

  named = map (builtins.concatStringsSep ".");

  # Without the system that Nixpkgs dropped, if it still has its name.
  present = lib.filterAttrs (system: _value: system != "x86_64-darwin" || x86Darwin != "throws");
in
{
  # Of each kind the leaves; of those that are by system, only of systems that are there.
  leaves = named (
    builtins.concatMap (
      kind:
      let
        output = outputs.${kind};
      in
      leaves [ kind ] (if output ? x86_64-linux then present output else output)
    ) (builtins.attrNames outputs)
  );

  # What a user starts from. The system itself is evaluated by what is built of it.
  template = named (leaves [ ] (removeAttrs template [ "apps" "darwinConfigurations" ]));

  # What is a function is called.
  overlay = (outputs.overlays.default (packagesOf "x86_64-linux") { }).nixvol-net.pname;
  snapshot =
    (outputs.lib.snapshotCheck {
      pkgs = packagesOf "x86_64-linux";
      input = { };
      snapshot = ../../templates;
    }).script;
  inherit (outputs.apps.aarch64-darwin.nixvol-net) program;
}
