# Mistakes that Nix can detect before anything is built. Address arithmetic is left to the generator, which reports
# every mistake at once; these assertions catch those that are cheap to detect early.
{ config, lib, ... }:
let
  cfg = config.services.nixvol-net;
  option = "services.nixvol-net";

  data = import ./data.nix { inherit lib; } cfg;
  providers = lib.attrNames data.providers;
  ends = providers ++ lib.attrNames data.volumes;

  quoted = lib.strings.escapeNixString;
  listed = names: lib.concatMapStringsSep ", " quoted names;

  state =
    kind: name:
    if cfg.${kind} ? ${name} then "is switched off by `enable`" else "is not declared in ${option}.${kind}";

  namesOf =
    kind:
    lib.mapAttrsToList (name: _value: {
      assertion = builtins.match "[a-z0-9][a-z0-9-]{0,23}" name != null;
      message = ''
        ${option}.${kind} has an entry named ${quoted name}. Rename it: a name has at most 24 characters, all of them lower-case letters, digits or hyphens, and does not start with a hyphen.
      '';
    }) cfg.${kind};

  providerOf = name: volume: {
    assertion = lib.elem volume.provider providers;
    message = ''
      ${option}.volumes.${name}.provider is ${quoted volume.provider}, which ${state "providers" volume.provider}. Declare that provider, choose one of: ${listed providers}, or leave the volume out with ${option}.volumes.${name}.enable = false.
    '';
  };

  endsOn =
    list: words: side: index: entry:
    map (end: {
      assertion = lib.elem end (ends ++ words);
      message = ''
        ${option}.${list}, entry ${toString (index + 1)}: `${side}` names ${quoted end}, which ${
          state (if cfg.volumes ? ${end} then "volumes" else "providers") end
        }. Name a provider or a volume that takes part: ${listed (ends ++ words)}.
      '';
    }) entry.${side};

  endsOf =
    list: words:
    lib.concatLists (
      lib.imap0 (
        index: entry: endsOn list words "from" index entry ++ endsOn list words "to" index entry
      ) cfg.${list}
    );

  # Endpoints of expectations that are not declared: the generator's keywords.
  others = [
    "internet"
    "lan"
    "mac"
    "localhost"
    "any"
  ];
in
{
  config.assertions = lib.mkIf cfg.enable (
    [
      {
        assertion = providers != [ ];
        message = ''
          ${option}.enable is set, but no provider is declared. Declare one in ${option}.providers, or set ${option}.preset = "multi-cloud".
        '';
      }
      {
        # The manager edits the file in place, and files in the store are read-only.
        assertion = !(cfg.hosts.enable && config.environment.etc.hosts.enable or false);
        message = ''
          ${option}.hosts.enable has the names of the volumes written into /etc/hosts, which environment.etc.hosts makes a link into the Nix store. Set ${option}.hosts.enable = false, or leave environment.etc.hosts out.
        '';
      }
    ]
    ++ namesOf "providers"
    ++ namesOf "volumes"
    ++ lib.mapAttrsToList providerOf data.volumes
    ++ endsOf "links" [ ]
    ++ endsOf "expect" others
  );
}
