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
    };
}
