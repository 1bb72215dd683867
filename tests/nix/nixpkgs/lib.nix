# The lib of Nixpkgs at `source`, or the little one without it.
source:
let
  little = import ../lib;
in
if source == null then
  little
else
  # Its file sets want Nix 2.18; the rest does without.
  import (source + "/lib")
  // little.optionalAttrs (!(builtins ? readFileType)) { inherit (little) fileset; }
