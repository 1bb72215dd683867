# The derivations that users build, with a `pkgs` that needs no Nixpkgs: a builder is the shell of this machine, with
# its commands. `package` is a directory with the program in `bin`.
{ package, path }:
let
  lib = import ./lib;

  pkgs = {
    inherit lib;
    writeText = builtins.toFile;
    runCommand =
      name: attrs: script:
      derivation {
        inherit name;
        system = builtins.currentSystem;
        builder = "/bin/sh";
        args = [
          "-euc"
          script
        ];
        PATH = builtins.concatStringsSep ":" (map (input: "${input}/bin") attrs.nativeBuildInputs ++ [ path ]);
      };
  };
in
{
  # The check of the flake's library.
  snapshot =
    { input, snapshot }:
    import ../../modules/snapshot.nix {
      inherit
        pkgs
        input
        snapshot
        package
        ;
    };

  # The module's own derivation.
  bundle =
    input:
    let
      module = import ../../modules {
        inherit lib pkgs;
        options = { };
        config.services.nixvol-net = { inherit input package; };
      };
    in
    module.config.services.nixvol-net.bundle;
}
