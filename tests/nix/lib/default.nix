# The few functions of Nixpkgs' lib that the pure parts of the module use, so that they can be evaluated where
# there is no Nixpkgs.
rec {
  inherit (builtins)
    concatMap
    elemAt
    filter
    foldl'
    head
    length
    ;

  min = a: b: if a < b then a else b;

  optionals = condition: list: if condition then list else [ ];
  optional = condition: value: optionals condition [ value ];
  optionalAttrs = condition: attrs: if condition then attrs else { };

  filterAttrs =
    keep: attrs:
    removeAttrs attrs (filter (name: !(keep name attrs.${name})) (builtins.attrNames attrs));
  mergeAttrsList = foldl' (a: b: a // b) { };
  concatMapAttrs = f: attrs: mergeAttrsList (builtins.attrValues (builtins.mapAttrs f attrs));

  genAttrs =
    names: f:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );

  imap0 = f: list: builtins.genList (index: f index (elemAt list index)) (length list);

  hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  removePrefix =
    prefix: text:
    builtins.substring (builtins.stringLength prefix) (builtins.stringLength text) text;
  escapeRegex = builtins.replaceStrings [ "." "+" ] [ "\\." "\\+" ];

  hasSuffix =
    suffix: text:
    let
      length = builtins.stringLength suffix;
    in
    builtins.substring (builtins.stringLength text - length) length text == suffix;
  escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] "${text}"}'";
  escapeShellArgs = list: builtins.concatStringsSep " " (map escapeShellArg list);
  optionalString = condition: text: if condition then text else "";

  importTOML = file: builtins.fromTOML (builtins.readFile file);
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  licenses.mit = { };
  platforms = {
    darwin = [ ];
    linux = [ ];
  };

  # No file is copied; all of them must be there.
  fileset = {
    maybeMissing = _file: [ ];
    unions = concatMap (files: if builtins.isList files then files else [ files ]);
    toSource =
      { root, fileset }:
      assert builtins.all builtins.pathExists ([ root ] ++ fileset);
      "source";
  };

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkAfter = content: {
    _type = "order";
    inherit content;
  };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
}
