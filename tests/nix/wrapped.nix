# Definitions in the wrappers of the module system; what counts is marked.
{ lib }:
{
  volumes = {
    # marked: the entry itself
    a = lib.mkMerge [
      {
        provider = lib.mkDefault "o";
        address = "10.0.0.9";
      }
      (lib.mkIf true {
        provider = "p"; # marked
        address = lib.mkForce "10.0.0.2"; # marked
      })
      (lib.mkIf false { publish = [ 9 ]; })
      { publish = [ 1 ]; } # marked
    ];
  };

  links = [
    (lib.mkIf false { from = [ "z" ]; })
    { from = [ "a" ]; } # marked: links.0
    (lib.mkIf true { to = [ "b" ]; }) # marked: links.1, which has no `from`
  ];
}
