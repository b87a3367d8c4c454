/**
 * Who else holds a mount's `/dev/fuse` descriptor, so that the mount outlives its daemon: while one
 * holds it, readers wait for the next daemon instead of getting errors.
 */
export interface MountHolder {
  readonly kind: "systemd" | "supervisor";
  /**
   * Has the descriptor kept beyond this process's death. Called once all that a successor needs is
   * on the disk.
   *
   * @returns false if it was not taken
   */
  hold(descriptor: number): boolean;
  /** Has it forgotten: the mount is about to be taken away on purpose. */
  release(): void;
}
