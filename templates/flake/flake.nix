{
  description = "A Mac with a multi-cloud network of volumes";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    nix-darwin = {
      url = "github:nix-darwin/nix-darwin";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # The repository of this template.
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

      # nix flake check
      #
      # The network is the one that you reviewed. To accept another, and the first time:
      #
      #   nix eval --json .#darwinConfigurations.mac.config.services.nixvol-net.input \
      #     | nix run .#nixvol-net -- snapshot accept --input -
      #   git add nixvol-snapshot
      checks = nixpkgs.lib.genAttrs [ "aarch64-darwin" "x86_64-linux" ] (system: {
        network = nixvol-net.lib.snapshotCheck {
          pkgs = nixpkgs.legacyPackages.${system};
          inherit (self.darwinConfigurations.mac.config.services.nixvol-net) input;
          snapshot = ./nixvol-snapshot;
        };
      });

      # nix build .#network
      packages.aarch64-darwin.network = self.darwinConfigurations.mac.config.services.nixvol-net.bundle;

      # nix run .#nixvol-net -- test --input result/network.json
      inherit (nixvol-net) apps;
    };
}
