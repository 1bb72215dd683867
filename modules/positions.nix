# Finds the place of each value of the declaration in the user's Nix source.
#
# `data` is the input of the generator, and `definitions` are the definitions of the options that it comes from. The
# definitions are traversed together with `data`: conditions are resolved and priorities compared as in the module
# system, so that the place is that of the definition which takes effect. A value from the command line, or one whose
# name a function of `lib` computed, has no place of its own; the generator then uses its nearest ancestor that has
# one. For an option with a single value Nix knows only the file: its line is 0, and the generator searches the file.
# This also applies to `links` and `expect` as a whole.
{ lib }:
{ data, definitions }:
let
  source = toString ../. + "/";
  library = dirOf ((builtins.unsafeGetAttrPos "concatMap" lib).file or "") + "/";

  # Files of this project get the prefix nixvol-net, files of a flake are relative to it. Store paths are avoided,
  # because they would change the JSON after every edit.
  fileName =
    file:
    let
      path = builtins.unsafeDiscardStringContext file;
      inStore = builtins.match ".*${lib.escapeRegex builtins.storeDir}/[^/]+/(.+)" path;
    in
    if lib.hasPrefix source path then
      "nixvol-net/" + lib.removePrefix source path
    else if inStore != null then
      builtins.head inStore
    else
      path;

  placeOf =
    name: attrs:
    let
      position = builtins.unsafeGetAttrPos name attrs;
    in
    if
      position == null || !(lib.hasPrefix "/" position.file) || lib.hasPrefix library position.file
    then
      null
    else
      {
        inherit (position) line column;
        file = fileName position.file;
      };

  # The values of a definition after resolving mkMerge and mkIf: none, one or several.
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

  priorityOf = value: if value._type or null == "override" then value.priority else 100;

  bare =
    value:
    let
      kind = value._type or null;
    in
    if kind == "override" || kind == "order" then bare value.content else value;

  # The definitions of a value that take effect: those with the smallest priority number.
  settle =
    definitions:
    let
      discharged = lib.concatMap (
        definition: map (value: definition // { inherit value; }) (discharge definition.value)
      ) definitions;
      highest = lib.foldl' lib.min 9999 (map (definition: priorityOf definition.value) discharged);
    in
    map (definition: definition // { value = bare definition.value; }) (
      lib.filter (definition: priorityOf definition.value == highest) discharged
    );

  has = name: definition: builtins.isAttrs definition.value && definition.value ? ${name};

  attribute =
    name: from:
    settle (
      map (definition: {
        value = definition.value.${name};
        place = placeOf name definition.value;
      }) (lib.filter (has name) from)
    );

  at =
    path: found:
    let
      places = lib.filter (place: place != null) (map (definition: definition.place) found);
    in
    lib.optionalAttrs (places != [ ]) { ${path} = lib.head places; };

  attributes =
    path: values: from:
    lib.concatMapAttrs (
      name: value:
      let
        found = attribute name from;
        here = "${path}.${name}";
      in
      at here found // lib.optionalAttrs (builtins.isAttrs value) (attributes here value found)
    ) values;

  # Nix knows no place of a list element; that of `from`, or else of the first attribute that has one, is used.
  elements =
    path: values: from:
    let
      alone = value: [ { inherit value; } ];
      candidates = lib.concatMap (definition: map alone definition.value) from;
      present = lib.filter (found: found != [ ]) (map settle candidates);
      element =
        index: value:
        let
          found = lib.elemAt present index;
          here = "${path}.${toString index}";
          inside = attributes here value found;
          known = lib.filter (name: inside ? "${here}.${name}") ([ "from" ] ++ builtins.attrNames value);
        in
        inside // lib.optionalAttrs (known != [ ]) { ${here} = inside."${here}.${lib.head known}"; };
    in
    lib.mergeAttrsList (lib.imap0 element values);

  # The file of the definition that takes effect.
  scalar =
    name:
    let
      files = map (definition: definition.file or "") (definitions.${name} or [ ]);
      known = lib.filter (file: lib.hasPrefix "/" file && !(lib.hasPrefix library file)) files;
    in
    lib.optionalAttrs (data ? ${name} && known != [ ]) {
      ${name} = {
        file = fileName (lib.head known);
        line = 0;
        column = 0;
      };
    };
in
lib.mergeAttrsList (
  map scalar [
    "base"
    "stateDir"
    "logFile"
    "anchor"
    "allowOverlap"
    "reconcileInterval"
    "links"
    "expect"
    "mac"
  ]
)
// attributes "providers" data.providers definitions.providers
// attributes "volumes" data.volumes definitions.volumes
// attributes "localhost" (data.localhost or { }) definitions.localhost
// attributes "macs" (data.macs or { }) (definitions.macs or [ ])
// elements "links" (data.links or [ ]) definitions.links
// elements "expect" (data.expect or [ ]) (definitions.expect or [ ])
