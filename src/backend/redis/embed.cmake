# Writes a Redis script as C: cmake -DINPUT=x.lua -DNAME=x -DOUTPUT=x.c -P embed.cmake
# A script that says "-- HEAD     y.lua" in its comment begins with the text of head/y.lua. Redis knows
# a script by the digest of its bytes, so that is computed here, too.
file(READ "${INPUT}" text)
if(text MATCHES "\n-- HEAD +([a-z_]+\\.lua)\n")
    get_filename_component(folder "${INPUT}" DIRECTORY)
    file(READ "${folder}/head/${CMAKE_MATCH_1}" head)
    string(PREPEND text "${head}")
endif()
string(SHA1 digest "${text}")
string(HEX "${text}" hex)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)"
                     "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"link/scripts.h\"\n\nstatic const unsigned char body[] = {\n${bytes}};\n\n"
                       "const struct bh_redis_script bh_redis_script_${NAME} = {\n"
                       "    \"${NAME}\", \"${digest}\", {(const char *)body, sizeof body}};\n")
