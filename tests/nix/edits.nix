# What files of a user's configuration declare: evaluated with stand-ins for everything around them, their definitions
# merged as the module system would, and the preset among them where they ask for it. A file stands for everything in it,
# or with `{ file, host }` for one of its configurations.
{ files }:
let
  lib = import ./lib // {
    inherit (builtins) mapAttrs;
    mkOption = _: { };
    mkBefore = lib.mkOrder 500;
    mkAfter = lib.mkOrder 1500;
    mkOrder = priority: content: {
      _type = "order";
      inherit priority content;
    };
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
  };

  config = {
    mac.network = true;
    networking.hostName = "home";
    services.nixvol-net = { };
  };

  arguments = {
    inherit lib config;
    pkgs = {
      vim = "vim";
      stdenv.isDarwin = true;
    };
    inputs = { };
    self = { };
    nixpkgs.lib = lib;
    nixvol-net.darwinModules.default = { };
    nix-darwin.lib.darwinSystem = { modules }: { inherit modules; };
  };

  # A value without the functions around it.
  openWith = given: value: if builtins.isFunction value then openWith given (value given) else value;
  open = openWith arguments;

  modules =
    value:
    let
      opened = open value;
    in
    if opened ? outputs then
      builtins.concatMap (system: builtins.concatMap modules system.modules) (
        builtins.attrValues (open opened.outputs).darwinConfigurations
      )
    else if opened ? flake then
      builtins.concatMap modules (builtins.attrValues opened.flake.modules.darwin)
    else
      builtins.concatMap modules (opened.imports or [ ]) ++ [ (opened.config or opened) ];

  # The modules of one configuration: of a flake, of a module of flake-parts, or of a set of systems.
  modulesOf =
    value: host:
    let
      opened = openWith (
        arguments
        // {
          config = config // {
            inherit (opened) flake;
          };
          inputs = arguments // {
            self = opened.flake;
          };
        }
      ) value;
      outputs = openWith (arguments // { self = outputs; }) opened.outputs;
      systems =
        if opened ? outputs then
          outputs.darwinConfigurations
        else if opened ? flake then
          opened.flake.darwinConfigurations
        else
          opened;
    in
    builtins.concatMap modules systems.${host}.modules;

  # The definitions in a value, each with its priority.
  discharge =
    priority: value:
    let
      kind = value._type or null;
    in
    if kind == "merge" then
      builtins.concatMap (discharge priority) value.contents
    else if kind == "if" then
      lib.optionals value.condition (discharge priority value.content)
    else if kind == "override" then
      discharge value.priority value.content
    else if kind == "order" then
      discharge priority value.content
    else
      [ { inherit priority value; } ];

  # Those of a name in sets; a priority on the sets is handed down.
  inside =
    name: definitions:
    builtins.concatMap (
      { priority, value }: lib.optionals (value ? ${name}) (discharge priority value.${name})
    ) definitions;

  # Those that count.
  strongest =
    definitions:
    let
      best = lib.foldl' lib.min 9999 (map (definition: definition.priority) definitions);
    in
    map (definition: definition.value) (
      lib.filter (definition: definition.priority == best) definitions
    );

  namesOf = values: builtins.attrNames (lib.mergeAttrsList values);
  fields = definitions: lib.genAttrs (namesOf (strongest definitions)) (
    name: inside name (map (value: { priority = 100; inherit value; }) (strongest definitions))
  );

  # Lists are put together; of other values there is one.
  one =
    definitions:
    let
      values = strongest definitions;
    in
    if builtins.all builtins.isList values then builtins.concatLists values else lib.head values;

  flat = definitions: builtins.mapAttrs (_: one) (fields definitions);
  entries = definitions: builtins.mapAttrs (_: flat) (fields definitions);

  evaluated =
    file:
    let
      own = builtins.concatMap (module: inside "nixvol-net" (inside "services" (discharge 100 module))) (
        if file ? host then modulesOf (import file.file) file.host else modules (import file)
      );
      name = inside "preset" own;
      base = inside "presetBase" own;
      preset = import ../../modules/presets/multi-cloud.nix {
        inherit lib;
        config.services.nixvol-net = {
          preset = if name == [ ] then null else one name;
          presetBase = if base == [ ] then "10.0.0.0/16" else one base;
          providers = builtins.mapAttrs (_: value: { enable = true; } // value) (cfg "providers");
        };
      };
      all = discharge 100 preset.config.services.nixvol-net ++ own;
      cfg = option: if inside option all == [ ] then { } else entries (inside option all);
      scalars = lib.filterAttrs (option: _: inside option all != [ ]) (
        lib.genAttrs [ "base" "stateDir" "logFile" "anchor" "allowOverlap" "links" "expect" ] (
          option: one (inside option all)
        )
      );
    in
    import ../../modules/data.nix { inherit lib; } (
      scalars
      // {
        providers = cfg "providers";
        volumes = cfg "volumes";
      }
    );
in
map evaluated files
