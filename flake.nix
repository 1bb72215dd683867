{
  description = "Declare a multi-cloud network of volumes in Nix; get a proven pf ruleset and a manager for macOS";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    nix-darwin = {
      url = "github:nix-darwin/nix-darwin";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      nix-darwin,
    }:
    let
      inherit (nixpkgs) lib;

      # Systems that Nixpkgs no longer supports are omitted. Packages are evaluated lazily, so that the outputs for one
      # system never evaluate those of another.
      systems = lib.filter (system: nixpkgs.legacyPackages ? ${system}) [
        "aarch64-darwin"
        "x86_64-darwin"
        "aarch64-linux"
        "x86_64-linux"
      ];

      forSystems = outputs: lib.genAttrs systems (system: outputs system nixpkgs.legacyPackages.${system});

      package = pkgs: pkgs.callPackage ./modules/package.nix { };

      # Runs a test that is written like nix-darwin's own tests, the way nix-darwin runs them.
      darwinTest =
        system: test:
        (nix-darwin.lib.darwinSystem {
          modules = [
            self.darwinModules.default
            test
            (
              { config, pkgs, ... }:
              {
                options = {
                  out = lib.mkOption { type = lib.types.package; };
                  test = lib.mkOption { type = lib.types.lines; };
                };
                config = {
                  nixpkgs.hostPlatform = system;
                  system.stateVersion = 6;
                  out = config.system.build.toplevel;
                  system.build.run-test = pkgs.runCommand "nixvol-net-darwin-test" { } ''
                    ${config.test}
                    touch $out
                  '';
                };
              }
            )
          ];
        }).config.system.build.run-test;

      # The example system of the flake template, as a user would build it.
      exampleSystem =
        system:
        nix-darwin.lib.darwinSystem {
          modules = [
            self.darwinModules.default
            ./templates/flake/configuration.nix
            { nixpkgs.hostPlatform = lib.mkForce system; }
          ];
        };
    in
    {
      darwinModules = {
        default = ./modules;
        nixvol-net = ./modules;
      };

      # snapshotCheck { pkgs, input, snapshot }: see modules/snapshot.nix.
      lib.snapshotCheck = import ./modules/snapshot.nix;

      overlays.default = final: _prev: { nixvol-net = package final; };

      templates.default = {
        path = ./templates/flake;
        description = "A nix-darwin system with a multi-cloud network of volumes";
      };

      packages = forSystems (
        system: pkgs: {
          default = self.packages.${system}.nixvol-net;
          nixvol-net = package pkgs;
        }
      );

      apps = forSystems (
        system: _pkgs: {
          default = self.apps.${system}.nixvol-net;
          nixvol-net = {
            type = "app";
            program = lib.getExe self.packages.${system}.nixvol-net;
            meta.description = "Render, prove and explain a declared network of volumes";
          };
        }
      );

      checks = forSystems (
        system: pkgs:
        let
          named = name: program: pkgs.writeShellScriptBin name ''exec ${program} "$@"'';

          tests = pkgs.callPackage ./modules/package.nix {
            withTests = true;
            # The programs that tests/run.sh installs elsewhere; original-awk is Debian's name for the one true awk.
            testInputs = lib.optionals (lib.hasSuffix "-linux" system) [
              pkgs.curl
              pkgs.dash
              pkgs.fish
              pkgs.iproute2
              pkgs.iputils
              pkgs.libplist
              pkgs.mandoc
              pkgs.mawk
              pkgs.mksh
              pkgs.nix
              pkgs.procps
              pkgs.python3
              pkgs.shellcheck
              pkgs.util-linux
              pkgs.zsh
              (named "busybox" "${pkgs.busybox}/bin/busybox")
              (named "original-awk" "${pkgs.nawk}/bin/nawk")
            ];
          };

          # A check that runs one command instead of building the tests.
          check =
            {
              name,
              tool,
              command,
            }:
            tests.overrideAttrs (previous: {
              pname = "nixvol-net-${name}";
              nativeBuildInputs = previous.nativeBuildInputs ++ [ tool ];
              buildPhase = command;
              doCheck = false;
              installPhase = "touch $out";
            });

          example = exampleSystem system;
        in
        {
          format = check {
            name = "format";
            tool = pkgs.rustfmt;
            command = "cargo fmt --check";
          };

          clippy = check {
            name = "clippy";
            tool = pkgs.clippy;
            # The second run is without the lab, as on a Mac.
            command = ''
              cargo clippy --offline --all-targets -- --deny warnings
              cargo clippy --offline --no-default-features --all-targets -- --deny warnings
            '';
          };

          # Evaluates the whole example system for a Mac, down to its derivation, without building it.
          module = pkgs.writeText "nixvol-net-module" (
            builtins.unsafeDiscardStringContext (exampleSystem "aarch64-darwin").system.drvPath
          );

          # Renders and proves the network of the example, on this system.
          bundle = example.config.services.nixvol-net.bundle;
        }
        // lib.optionalAttrs (lib.hasSuffix "-darwin" system) {
          system = example.system;
          services = darwinTest system ./tests/nix/services-nixvol-net.nix;
        }
        # The tests need the toy Mac, which runs on Linux only.
        // lib.optionalAttrs (lib.hasSuffix "-linux" system) {
          tests = tests.overrideAttrs {
            NIXVOL_NIX_DARWIN = "${nix-darwin}";
            NIXVOL_NIXPKGS_LIB = "${nixpkgs}";
          };
        }
      );

      devShells = forSystems (
        system: pkgs: {
          default = pkgs.mkShell {
            inputsFrom = [ self.packages.${system}.nixvol-net ];
            packages = [
              pkgs.cargo-insta
              pkgs.clippy
              pkgs.dash
              pkgs.nixfmt
              pkgs.rust-analyzer
              pkgs.rustfmt
              pkgs.shellcheck
            ];
          };
        }
      );

      formatter = forSystems (_system: pkgs: pkgs.nixfmt-tree);
    };
}
