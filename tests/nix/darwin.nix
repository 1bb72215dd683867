# A nix-darwin system with this module in it, evaluated against sources that are given by path. The packages are
# stand-ins: nothing is built, and whatever a module asks of `pkgs` is a derivation of that name.
{
  nixDarwin,
  nixpkgsLib,
  modules ? [ ],
  # Whether the module is imported at all.
  imported ? true,
}:
let
  lib = import ./nixpkgs/lib.nix nixpkgsLib;

  evaluated = import (nixDarwin + "/eval-config.nix") {
    inherit lib;
    modules = lib.optional imported ../../modules ++ [
      {
        nixpkgs.source = ./nixpkgs;
        nixpkgs.hostPlatform = "aarch64-darwin";
        nix.enable = false;
        documentation.enable = false;
        system.stateVersion = 6;
        system.checks.verifyNixPath = false;
      }
    ]
    ++ modules;
  };

  inherit (evaluated) config;

  # An old Nix writes the escape character into its JSON as it is, which makes it unreadable.
  plain =
    let
      escape = builtins.fromJSON ''"\u001b"'';
    in
    lib.replaceStrings [ escape ] [ "" ];
in
{
  inherit (config.services.nixvol-net) input;
  declared = builtins.toJSON (removeAttrs config.services.nixvol-net.input [ "positions" ]);

  activate = plain config.system.activationScripts.script.text;

  daemons = lib.mapAttrs (_name: daemon: toString daemon.source) config.environment.launchDaemons;
  bundle = config.services.nixvol-net.bundle.script;
  tunnel = config.networking.wg-quick.interfaces;

  # What a switch of this system runs and reads, by the paths that it has in the store.
  switch = {
    script = plain config.system.activationScripts.script.text;
    launchd = config.system.build.launchd.outPath;
    daemons = lib.mapAttrs (_name: daemon: "${daemon.source}") config.environment.launchDaemons;
    bundle = if imported then config.services.nixvol-net.bundle.outPath else null;
    input = if imported then config.services.nixvol-net.input else null;
  };

  # The options, those inside entries too, with what a manual would say of each.
  options =
    let
      walk =
        path: options:
        lib.concatLists (
          lib.mapAttrsToList (
            name: option:
            let
              here = path ++ [ name ];
            in
            if name == "_module" then
              [ ]
            else if lib.isOption option then
              [
                {
                  name = lib.concatStringsSep "." here;
                  value = {
                    inherit (option) description;
                    readOnly = option.readOnly or false;
                    example = option ? example;
                    fits =
                      !(option ? example) || option.example._type or null != null || option.type.check option.example;
                  };
                }
              ]
              ++ walk here (option.type.getSubOptions [ ])
            else
              walk here option
          ) options
        );
    in
    builtins.listToAttrs (walk [ ] evaluated.options.services.nixvol-net);

  # What a manual is made of, as nixosOptionsDoc takes it.
  reference = map (option: {
    inherit (option) name description type;
    readOnly = option.readOnly or false;
    default = option.default.text or null;
    example = option.example.text or null;
  }) (lib.filter (option: option.visible && !option.internal) (lib.optionAttrSetToDocList evaluated.options.services.nixvol-net));

  # Of a test in the form that nix-darwin has for its own.
  inherit (config) test;

  toplevel = config.system.build.toplevel.drvPath;
}
