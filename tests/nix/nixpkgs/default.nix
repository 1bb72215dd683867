# A Nixpkgs of stand-ins, to be imported like the real one. A package is a derivation of its name that nobody builds;
# what it is made of is forced with it, as Nix would force it. Whoever imports it as nix-darwin does cannot give a lib.
{
  lib ? import ./lib.nix (builtins.getEnv "NIXVOL_NIXPKGS_LIB"),
  localSystem,
  ...
}:
let
  system = localSystem.system or localSystem;

  isPlain = value: !(builtins.isFunction value || (builtins.isAttrs value && value.type or "" != "derivation"));

  drv =
    name: attrs:
    let
      plain = lib.filterAttrs (_name: isPlain) (removeAttrs attrs [ "meta" ]);
      again = change: drv name (attrs // (if builtins.isFunction change then change attrs else change));
    in
    derivation (
      {
        inherit name system;
        builder = "/bin/sh";
      }
      // plain
    )
    // attrs
    // {
      meta = {
        mainProgram = name;
      }
      // attrs.meta or { };
      override = _arguments: drv name attrs;
      overrideAttrs = again;
    };

  written = name: text: drv name { inherit text; };

  platform =
    if lib ? systems then
      lib.systems.elaborate system
    else
      {
        inherit system;
        canExecute = other: other.system == system;
      };

  packages = lib.genAttrs [
    "bashInteractive"
    "bashNonInteractive"
    "busybox"
    "cacert"
    "cargo-insta"
    "clippy"
    "coreutils"
    "curl"
    "dash"
    "fish"
    "gnugrep"
    "gnused"
    "installShellFiles"
    "iproute2"
    "iputils"
    "jq"
    "libplist"
    "mandoc"
    "mawk"
    "mksh"
    "nawk"
    "nixfmt"
    "nixfmt-tree"
    "openssh"
    "procps"
    "python3"
    "rsync"
    "rust-analyzer"
    "rustfmt"
    "shellcheck"
    "util-linux"
    "wireguard-go"
    "wireguard-tools"
    "zsh"
  ] (name: drv name { });

  pkgs = packages // {
    inherit lib pkgs system;
    nix = drv "nix" { version = "2.31.0"; };
    __splicedPackages = pkgs;

    stdenv = drv "stdenv" { } // {
      shell = "/bin/sh";
      hostPlatform = platform;
      buildPlatform = platform;
      targetPlatform = platform;
      isDarwin = lib.hasSuffix "-darwin" system;
    };
    stdenvNoCC.mkDerivation =
      attrs: drv attrs.name { inherit (attrs) activationScript buildCommand; };

    callPackage =
      file: arguments:
      let
        function = import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // arguments);
    rustPlatform.buildRustPackage =
      attrs:
      assert builtins.pathExists attrs.cargoLock.lockFile;
      drv attrs.pname attrs;

    runCommand =
      name: attrs: script:
      drv name (attrs // { inherit script; });
    writeText = written;
    writeTextFile = attrs: drv attrs.name attrs;
    writeScript = written;
    writeShellScriptBin = written;
    buildEnv = attrs: drv attrs.name { };
    mkShell = attrs: drv "shell" attrs;
    formats.json = _settings: { generate = name: _value: drv name { }; };
  };
in
pkgs
