# The pure parts of the module, without the module system.
let
  lib = import ./lib // {
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
  };
  data = import ../../modules/data.nix { inherit lib; };
  positions = import ../../modules/positions.nix { inherit lib; };

  # What the module system makes of the preset when nothing else is defined.
  settled =
    value:
    if !builtins.isAttrs value then
      value
    else if value ? _type then
      settled value.content
    else
      builtins.mapAttrs (_name: settled) value;

  on = builtins.mapAttrs (_name: provider: { enable = true; } // provider);

  presetAt =
    presetBase:
    let
      module = import ../../modules/presets/multi-cloud.nix {
        inherit lib;
        config.services.nixvol-net = {
          preset = "multi-cloud";
          inherit presetBase;
          providers = on cfg.providers;
        };
      };
      cfg = settled module.config.services.nixvol-net;
    in
    cfg;

  preset = presetAt "10.0.0.0/16";

  at = value: [ { inherit value; } ];

  withPositions =
    cfg: definitions:
    data cfg
    // {
      positions = positions {
        data = data cfg;
        definitions = {
          providers = at (definitions.providers or { });
          volumes = at (definitions.volumes or { });
          localhost = at (definitions.localhost or { });
          links = at (definitions.links or [ ]);
          expect = at (definitions.expect or [ ]);
        };
      };
    };
in
{
  preset = data preset;
  shifted = data (presetAt "172.20.0.0/16");
  # What the generator has built in, said as the module says things: each default left out, names in order.
  embedded = data (builtins.fromJSON (builtins.readFile ../../generator/default.json));
  declared = withPositions (import ./declared.nix) (import ./declared.nix);

  # Every option, those inside entries too: what a reader is told of it.
  options =
    let
      nothing = _: { };
      described = lib // {
        mkOption = option: option // { _type = "option"; };
        mkPackageOption = _packages: name: attrs: {
          _type = "option";
          description = "The ${name} package to use. ${attrs.extraDescription}";
          inherit (attrs) example;
        };
        mkEnableOption = name: {
          _type = "option";
          description = "Whether to enable ${name}.";
          example = true;
          default = false;
        };
        literalExpression = text: { inherit text; };
        types = {
          strMatching = nothing;
          enum = nothing;
          ints = {
            between = _: nothing;
            positive = { };
          };
          numbers.between = _: nothing;
          nullOr = type: type;
          listOf = type: type;
          nonEmptyListOf = type: type;
          attrsOf = type: type;
          either = type: _: type;
          submodule = module: {
            inherit ((if builtins.isFunction module then module { name = "NAME"; } else module)) options;
          };
          str = { };
          bool = { };
          package = { };
          raw = { };
        };
      };
      walk =
        path: value:
        if value._type or null == "option" then
          {
            ${path} = {
              description = value.description or "";
              hasExample = value ? example;
              readOnly = value.readOnly or false;
            };
          }
          // walkAll path (value.type.options or { })
        else
          walkAll path value;
      walkAll = path: values: lib.concatMapAttrs (name: walk "${path}.${name}") values;
    in
    walkAll "services.nixvol-net"
      (import ../../modules/options.nix {
        config.networking.hostName = null;
        lib = described;
        pkgs = { };
      }).options.services.nixvol-net;

  # Files of one network, each definition handed over with its file.
  parts =
    files:
    let
      open = file: (import file) { inherit lib; };
      call = file: if builtins.isFunction (import file) then open file else import file;
      discharge =
        value:
        let
          kind = value._type or null;
        in
        if kind == "merge" then
          lib.concatMap discharge value.contents
        else if kind == "if" then
          lib.optionals value.condition (discharge value.content)
        else
          [ value ];
      modules = map (file: {
        inherit file;
        values = discharge (call file).services.nixvol-net;
      }) files;
      definitions =
        name:
        lib.concatMap (
          { file, values }:
          map (value: {
            file = toString file;
            value = value.${name};
          }) (lib.filter (value: value ? ${name}) values)
        ) modules;
      values = name: map (definition: definition.value) (definitions name);
      merge =
        sets:
        builtins.mapAttrs (name: _: lib.mergeAttrsList (lib.concatMap (set: lib.concatMap discharge (lib.optional (set ? ${name}) set.${name})) sets)) (
          lib.mergeAttrsList sets
        );
      cfg = {
        providers = merge (values "providers");
        volumes = merge (values "volumes");
        links = lib.concatMap (list: list) (values "links");
        stateDir = lib.head (values "stateDir");
      };
    in
    data cfg
    // {
      positions = positions {
        data = data cfg;
        definitions = {
          providers = definitions "providers";
          volumes = definitions "volumes";
          localhost = [ ];
          links = definitions "links";
          stateDir = definitions "stateDir";
        };
      };
    };

  # Only the places, of definitions wrapped in every way that the module system knows.
  wrapped =
    (withPositions
      {
        providers = { };
        volumes.a = {
          provider = "p";
          address = "10.0.0.2";
          publish = [ 1 ];
        };
        links = [
          { from = [ "a" ]; }
          { to = [ "b" ]; }
        ];
      }
      (import ./wrapped.nix { inherit lib; })
    ).positions;
}
