# A check for the user's flake: the bundle that they accepted, in their repository, is what their declaration renders.
#
#   snapshotCheck {
#     inherit pkgs;
#     input = self.darwinConfigurations.mac.config.services.nixvol-net.input;
#     snapshot = ./nixvol-snapshot;
#   }
#
# Rendering needs no Mac: `pkgs` can be those of the machine that checks. When it fails, the build log says what the
# change opens and closes.
{
  pkgs,
  # The declaration: `services.nixvol-net.input` of a configuration, or a path to its JSON.
  input,
  # The directory that `nixvol-net snapshot accept` wrote.
  snapshot,
  package ? pkgs.callPackage ./package.nix { },
}:
let
  json =
    if builtins.isAttrs input then
      pkgs.writeText "nixvol-net.json" (builtins.toJSON input)
    else
      input;
in
if !(builtins.pathExists snapshot) then
  throw "nixvol-net: there is no snapshot at ${toString snapshot}; run `nixvol-net snapshot accept` and add it to the repository (a flake sees only files that git knows)"
else
  pkgs.runCommand "nixvol-net-snapshot"
    {
      nativeBuildInputs = [ package ];
      # Kept apart from the script, so that a path is a word of it whatever it holds.
      inherit json snapshot;
    }
    ''
      nixvol-net snapshot check --dir "$snapshot" --input "$json"
      touch "$out"
    ''
