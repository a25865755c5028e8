# Writes a Redis script as C: cmake -DINPUT=x.lua -DNAME=x -DOUTPUT=x.c -P embed.cmake
# The digest by which Redis knows a script is that of its bytes, so it is made here, too.
file(READ "${INPUT}" hex HEX)
file(SHA1 "${INPUT}" digest)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)"
                     "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"link/scripts.h\"\n\nstatic const unsigned char body[] = {\n${bytes}};\n\n"
                       "const struct bh_redis_script bh_redis_script_${NAME} = {\n"
                       "    \"${NAME}\", \"${digest}\", {(const char *)body, sizeof body}};\n")
