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

      # nix run .#nixvol-net -- test
      inherit (nixvol-net) apps;
    };
}
