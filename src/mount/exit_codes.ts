/**
 * Exit code of a daemon that gave its mount up, because five in a row had died right after they took
 * it over. systemd does not start it again (`RestartPreventExitStatus=`), nor does the parent.
 */
export const GIVEN_UP = 3;
