{
  description = "A Mac with a multi-cloud network of volumes";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    nix-darwin = {
      url = "github:nix-darwin/nix-darwin";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # The place from which you took this template.
    nixvol-net = {
      url = "git+file:///path/to/nixvol-net";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.nix-darwin.follows = "nix-darwin";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      nix-darwin,
      nixvol-net,
    }:
    {
      # sudo darwin-rebuild switch --flake .#mac
      darwinConfigurations.mac = nix-darwin.lib.darwinSystem {
        modules = [
          nixvol-net.darwinModules.default
          ./configuration.nix
        ];
      };

      # nix build .#network
      packages.aarch64-darwin.network = self.darwinConfigurations.mac.config.services.nixvol-net.bundle;

      # nix run .#nixvol-net -- test --input result/network.json
      inherit (nixvol-net) apps;

      # nix flake check: the network is the one that was reviewed. It begins with the first
      #   nix run .#nixvol-net -- snapshot accept --input result/network.json && git add nixvol-snapshot
      # and from then on a change fails with what it opens and closes, until it is accepted in the same way.
      checks = nixpkgs.lib.genAttrs [ "aarch64-darwin" "x86_64-linux" ] (
        system:
        nixpkgs.lib.optionalAttrs (builtins.pathExists ./nixvol-snapshot) {
          network = nixvol-net.lib.snapshotCheck {
            pkgs = nixpkgs.legacyPackages.${system};
            input = self.darwinConfigurations.mac.config.services.nixvol-net.input;
            snapshot = ./nixvol-snapshot;
          };
        }
      );
    };
}
