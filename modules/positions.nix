# Where in the user's Nix source each value of the declaration was written.
#
# `data` is what the generator will read and `definitions` are the definitions of the options behind it. For
# every value in `data` the definitions are followed in step: conditions are resolved and priorities compared as
# the module system does it, so that the place is that of the definition that won. A value that was typed on
# the command line, or whose name a function of `lib` made, has no place of its own; the generator then falls
# back to the nearest place above it. Of an option that is one value Nix tells only the file: its line is 0, and the
# generator looks it up there. The same goes for `links` and `expect` as a whole.
{ lib }:
{ data, definitions }:
let
  source = toString ../. + "/";
  library = dirOf ((builtins.unsafeGetAttrPos "concatMap" lib).file or "") + "/";

  # Files of this project are named as such, files of a flake relative to it: no store path, which would make
  # the JSON differ after every edit.
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

  # A definition without the conditions around it: none, one or several.
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

  # Of several definitions of one thing, those that count: a smaller priority wins.
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

  # An element of a list has no place; a link is where its first attribute is.
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

  # The file of the definition that won.
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
  ]
)
// attributes "providers" data.providers definitions.providers
// attributes "volumes" data.volumes definitions.volumes
// attributes "localhost" (data.localhost or { }) definitions.localhost
// elements "links" (data.links or [ ]) definitions.links
// elements "expect" (data.expect or [ ]) (definitions.expect or [ ])
