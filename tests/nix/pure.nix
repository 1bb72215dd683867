# The pure parts of the module, without the module system.
let
  lib = import ./lib;
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

  preset =
    let
      module = import ../../modules/presets/multi-cloud.nix {
        inherit lib;
        config.services.nixvol-net = {
          preset = "multi-cloud";
          providers = on cfg.providers;
        };
      };
      cfg = settled module.config.services.nixvol-net;
    in
    cfg;

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
        };
      };
    };
in
{
  preset = data preset;
  # What the generator has built in, said as the module says things: each default left out, names in order.
  embedded = data (builtins.fromJSON (builtins.readFile ../../generator/default.json));
  declared = withPositions (import ./declared.nix) (import ./declared.nix);

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
