/** The version of this program, as `musicfs version`, `status` and the logs give it. */
export const VERSION = "0.1.0";
